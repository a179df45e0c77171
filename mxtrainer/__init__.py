"""A low-level trainer and executor engine on MXNet: nets, plans, executors, and an asynchronous trainer."""

from . import buckets as buckets
from . import errors as errors
from . import loggers as loggers
from . import schedules as schedules
from .engine.batches import Batches as Batches
from .engine.checkpoints import Checkpoints as Checkpoints
from .engine.evaluation import Evaluation as Evaluation
from .engine.explanation import Explanation as Explanation
from .engine.formulas import Formula as Formula
from .engine.losses import Losses as Losses
from .engine.net_state import NetState as NetState
from .engine.net_train import net_train as net_train
from .engine.optimizers import LAMB as LAMB
from .engine.optimizers import SGD as SGD
from .engine.optimizers import Adagrad as Adagrad
from .engine.optimizers import Adam as Adam
from .engine.optimizers import AdamW as AdamW
from .engine.optimizers import Optimizer as Optimizer
from .engine.optimizers import RMSProp as RMSProp
from .engine.optimizers import SignSGD as SignSGD
from .engine.prefetch import prefetch as prefetch
from .engine.rules import Rule as Rule
from .engine.stats import Stats as Stats
from .engine.train import train as train
from .engine.trainer import Trainer as Trainer
from .engine.training.record import TrainRecord as TrainRecord
from .engine.training.result import TrainResult as TrainResult
from .engine.windows import Stream as Stream
from .engine.windows import lanes as lanes
from .engine.windows import stream as stream
from .errors import ArgumentError as ArgumentError
from .errors import BatchError as BatchError
from .errors import Error as Error
from .errors import FileFormatError as FileFormatError
from .errors import MemoryBudgetError as MemoryBudgetError
from .errors import MissingExtraError as MissingExtraError
from .errors import NetError as NetError
from .errors import StaleHandleError as StaleHandleError
from .errors import StepError as StepError
from .errors import UnknownNameError as UnknownNameError
from .executors.batch import Batch as Batch
from .executors.bucketed import BucketedExecutor as BucketedExecutor
from .executors.check import check_gradients as check_gradients
from .executors.executor import Executor as Executor
from .executors.executor import instantiate as instantiate
from .executors.memory import MemoryReport as MemoryReport
from .executors.padding import check_padding as check_padding
from .executors.ragged import Ragged as Ragged
from .plans import initializers as initializers
from .plans.compile import compile_plan as compile_plan
from .plans.formats.gluon import from_gluon as from_gluon
from .plans.formats.gluon import to_gluon as to_gluon
from .plans.formats.keras_weights import from_keras as from_keras
from .plans.formats.keras_weights import to_keras as to_keras
from .plans.formats.mxnet_files import from_mxnet as from_mxnet
from .plans.formats.mxnet_files import to_mxnet as to_mxnet
from .plans.formats.onnx_reader.read import from_onnx as from_onnx
from .plans.formats.onnx_writer.export import to_onnx as to_onnx
from .plans.formats.safetensors_file import from_safetensors as from_safetensors
from .plans.formats.safetensors_file import to_safetensors as to_safetensors
from .plans.formats.symbol import from_symbol as from_symbol
from .plans.formats.torch_weights import from_torch as from_torch
from .plans.formats.torch_weights import to_torch as to_torch
from .plans.layers import GRU as GRU
from .plans.layers import LSTM as LSTM
from .plans.layers import Aggregate as Aggregate
from .plans.layers import Attention as Attention
from .plans.layers import BasicRecurrent as BasicRecurrent
from .plans.layers import BatchNorm as BatchNorm
from .plans.layers import Bidirectional as Bidirectional
from .plans.layers import Catenate as Catenate
from .plans.layers import ContrastiveLoss as ContrastiveLoss
from .plans.layers import Convolution as Convolution
from .plans.layers import CrossEntropyLoss as CrossEntropyLoss
from .plans.layers import Dropout as Dropout
from .plans.layers import Elementwise as Elementwise
from .plans.layers import Embedding as Embedding
from .plans.layers import ErrorRate as ErrorRate
from .plans.layers import Flatten as Flatten
from .plans.layers import GradientScale as GradientScale
from .plans.layers import LayerNorm as LayerNorm
from .plans.layers import LearnedWeight as LearnedWeight
from .plans.layers import Linear as Linear
from .plans.layers import MeanAbsoluteLoss as MeanAbsoluteLoss
from .plans.layers import MeanSquaredLoss as MeanSquaredLoss
from .plans.layers import Pooling as Pooling
from .plans.layers import Reshape as Reshape
from .plans.layers import SequenceLast as SequenceLast
from .plans.layers import SequenceReverse as SequenceReverse
from .plans.layers import Softmax as Softmax
from .plans.layers import Threading as Threading
from .plans.layers.fold import Fold as Fold
from .plans.layers.map import Map as Map
from .plans.layers.symbol import SymbolLayer as SymbolLayer
from .plans.layers.symbol_losses import SymbolLoss as SymbolLoss
from .plans.net import NetChain as NetChain
from .plans.net import NetGraph as NetGraph
from .plans.plan import Plan as Plan
from .plans.types import Array as Array
from .plans.types import Index as Index
from .plans.types import Scalar as Scalar
from .plans.types import Sequence as Sequence
from .plans.types import Vector as Vector
from .reports import Report as Report

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LAMB",
    "LSTM",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Aggregate",
    "ArgumentError",
    "Array",
    "Attention",
    "BasicRecurrent",
    "Batch",
    "BatchError",
    "BatchNorm",
    "Batches",
    "Bidirectional",
    "BucketedExecutor",
    "Catenate",
    "Checkpoints",
    "ContrastiveLoss",
    "Convolution",
    "CrossEntropyLoss",
    "Dropout",
    "Elementwise",
    "Embedding",
    "Error",
    "ErrorRate",
    "Evaluation",
    "Executor",
    "Explanation",
    "FileFormatError",
    "Flatten",
    "Fold",
    "Formula",
    "GradientScale",
    "Index",
    "LayerNorm",
    "LearnedWeight",
    "Linear",
    "Losses",
    "Map",
    "MeanAbsoluteLoss",
    "MeanSquaredLoss",
    "MemoryBudgetError",
    "MemoryReport",
    "MissingExtraError",
    "NetChain",
    "NetError",
    "NetGraph",
    "NetState",
    "Optimizer",
    "Plan",
    "Pooling",
    "RMSProp",
    "Ragged",
    "Report",
    "Reshape",
    "Rule",
    "Scalar",
    "Sequence",
    "SequenceLast",
    "SequenceReverse",
    "SignSGD",
    "Softmax",
    "StaleHandleError",
    "Stats",
    "StepError",
    "Stream",
    "SymbolLayer",
    "SymbolLoss",
    "Threading",
    "TrainRecord",
    "TrainResult",
    "Trainer",
    "UnknownNameError",
    "Vector",
    "buckets",
    "check_gradients",
    "check_padding",
    "compile_plan",
    "errors",
    "from_gluon",
    "from_keras",
    "from_mxnet",
    "from_onnx",
    "from_safetensors",
    "from_symbol",
    "from_torch",
    "initializers",
    "instantiate",
    "lanes",
    "loggers",
    "net_train",
    "prefetch",
    "schedules",
    "stream",
    "to_gluon",
    "to_keras",
    "to_mxnet",
    "to_onnx",
    "to_safetensors",
    "to_torch",
    "train",
]
