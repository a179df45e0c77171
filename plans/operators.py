"""The operators of MXNet that a graph from outside may have: those that cannot crash the process, nor run code."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


#: Those that need a word of ours, as they draw numbers, move arrays, or crash on views of arrays.
DROPOUT, BATCH_NORM, RNN, DECONVOLUTION = "Dropout", "BatchNorm", "RNN", "Deconvolution"
#: What a net is trained on: the gradient is the operator's own, whatever comes from behind.
LOSSES = words(
    "SoftmaxOutput Softmax LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput MakeLoss make_loss"
)
#: What takes lengths from the batch, and touches foreign memory where they are wrong; the smallest that is right.
BY_LENGTH = {"SequenceLast": 1, "SequenceMask": 0, "SequenceReverse": 1}
#: Parameters by which MXNet divides, or that it counts by: every number in them is at least 1.
COUNTS = words("block_size dilate heads kernel num_group num_groups num_layers repeat repeats scale state_size stride")
#: Integers divided by 0 end the process.
DIVISIONS = words(
    """
    _Div _div _div_scalar _DivScalar _RDivScalar _rdiv_scalar broadcast_div elemwise_div reciprocal _Mod _mod
    _mod_scalar
    _ModScalar _RModScalar _rmod_scalar broadcast_mod
    """
)
#: All others.
ALLOWED = words(
    """
    Activation BatchNorm BlockGrad Cast Concat Convolution Crop Deconvolution Dropout ElementWiseSum Embedding Flatten
    FullyConnected GroupNorm InstanceNorm L2Normalization LRN LayerNorm LeakyReLU Pad Pooling RNN Reshape SequenceLast
    SequenceMask SequenceReverse SliceChannel SoftmaxActivation SwapAxis UpSampling

    _Div _DivScalar _Equal _EqualScalar _Greater _GreaterEqualScalar _GreaterScalar _Greater_Equal _Hypot _HypotScalar
    _Lesser _LesserEqualScalar _LesserScalar _Lesser_Equal _Maximum _MaximumScalar _Minimum _MinimumScalar _Minus
    _MinusScalar _Mod _ModScalar _Mul _MulScalar _NotEqualScalar _Not_Equal _Plus _PlusScalar _Power _PowerScalar
    _RDivScalar _RMinusScalar _RModScalar _RPowerScalar

    _add _arange _copy _div _div_scalar _equal _equal_scalar _eye _full _grad_add _greater _greater_equal
    _greater_equal_scalar _greater_scalar _hypot _hypot_scalar _identity_with_attr_like_rhs _lesser _lesser_equal
    _lesser_equal_scalar _lesser_scalar _logical_and _logical_and_scalar _logical_or _logical_or_scalar _logical_xor
    _logical_xor_scalar _maximum _maximum_scalar _minimum _minimum_scalar _minus _minus_scalar _mod _mod_scalar _mul
    _mul_scalar _not_equal _not_equal_scalar _ones _plus _plus_scalar _power _power_scalar _rdiv_scalar _rminus_scalar
    _rmod_scalar _rnn_param_concat _rpower_scalar _split_v2 _sub _zeros _zeros_without_dtype

    _contrib_AdaptiveAvgPooling2D _contrib_BilinearResize2D _contrib_arange_like _contrib_div_sqrt_dim
    _contrib_gradientmultiplier _contrib_interleaved_matmul_selfatt_qk _contrib_interleaved_matmul_selfatt_valatt

    abs add_n amp_cast arccos arccosh arcsin arcsinh arctan arctanh argmax argmax_channel argmin batch_dot broadcast_add
    broadcast_axes broadcast_axis broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal
    broadcast_hypot broadcast_lesser broadcast_lesser_equal broadcast_like broadcast_logical_and broadcast_logical_or
    broadcast_logical_xor broadcast_maximum broadcast_minimum broadcast_minus broadcast_mod broadcast_mul
    broadcast_not_equal broadcast_plus broadcast_power broadcast_sub broadcast_to cast cbrt ceil clip concat cos cosh
    cumsum degrees depth_to_space dot elemwise_add elemwise_div elemwise_mul elemwise_sub erf erfinv exp expand_dims
    expm1 fix flatten flip floor gamma gammaln hard_sigmoid identity _linalg_gemm linalg_gemm _linalg_gemm2 linalg_gemm2
    _linalg_syrk linalg_syrk log log10 log1p log2 log_softmax logical_not max max_axis mean min min_axis negative norm
    _np_cumsum one_hot ones_like pad pick prod radians rcbrt reciprocal relu repeat reshape reshape_like reverse rint
    round rsqrt sigmoid sign sin sinh slice slice_axis slice_like smooth_l1 softmax softmin softsign space_to_depth
    split sqrt square squeeze stack stop_gradient sum sum_axis swapaxes take tan tanh tile topk transpose trunc where
    zeros_like
    """
)
