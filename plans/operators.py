"""The operators of MXNet that a graph from outside may have: those that cannot crash the process, nor run code."""

from __future__ import annotations

#: Those that need a word of ours, as they draw numbers, move arrays, or have a gradient of their own.
DROPOUT, BATCH_NORM, RNN = "Dropout", "BatchNorm", "RNN"
#: What a net is trained on: the gradient is the operator's own, whatever comes from behind.
LOSSES = frozenset(
    "SoftmaxOutput Softmax LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput MakeLoss make_loss".split()
)
#: Integers divided by 0 end the process.
DIVISIONS = frozenset(
    """
    _Div _div _div_scalar _DivScalar _RDivScalar _rdiv_scalar broadcast_div elemwise_div reciprocal _Mod _mod _mod_scalar
    _ModScalar _RModScalar _rmod_scalar broadcast_mod
    """.split()
)
_BINARY = "Plus Minus Mul Div Power Maximum Minimum Hypot Equal Not_Equal Greater Greater_Equal Lesser Lesser_Equal"
_SCALAR = "Plus Minus RMinus Mul Div RDiv Power RPower Maximum Minimum Mod RMod Equal NotEqual Greater GreaterEqual Lesser"
ALLOWED = frozenset(
    """
    Activation BatchNorm BlockGrad Cast Concat Convolution Crop Deconvolution Dropout ElementWiseSum Embedding Flatten
    FullyConnected GroupNorm InstanceNorm L2Normalization LRN LayerNorm LeakyReLU Pad Pooling RNN Reshape SequenceLast
    SequenceMask SequenceReverse SliceChannel SoftmaxActivation SwapAxis UpSampling
    _add _arange _copy _div _div_scalar _equal _equal_scalar _eye _full _grad_add _greater _greater_equal
    _greater_equal_scalar _greater_scalar _hypot _hypot_scalar _identity_with_attr_like_rhs _lesser _lesser_equal
    _lesser_equal_scalar _lesser_scalar _logical_and _logical_and_scalar _logical_or _logical_or_scalar _logical_xor
    _logical_xor_scalar _maximum _maximum_scalar _minimum _minimum_scalar _minus _minus_scalar _mod _mod_scalar _mul
    _mul_scalar _not_equal _not_equal_scalar _ones _plus _plus_scalar _power _power_scalar _rdiv_scalar _rminus_scalar
    _rmod_scalar _rnn_param_concat _rpower_scalar _split_v2 _sub _zeros _zeros_without_dtype
    _contrib_AdaptiveAvgPooling2D _contrib_BilinearResize2D _contrib_arange_like _contrib_div_sqrt_dim
    _contrib_gradientmultiplier _contrib_interleaved_matmul_selfatt_qk _contrib_interleaved_matmul_selfatt_valatt
    abs add_n amp_cast arccos arccosh arcsin arcsinh arctan arctanh argmax argmax_channel argmin batch_dot
    broadcast_add broadcast_axes broadcast_axis broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal
    broadcast_hypot broadcast_lesser broadcast_lesser_equal broadcast_like broadcast_logical_and broadcast_logical_or
    broadcast_logical_xor broadcast_maximum broadcast_minimum broadcast_minus broadcast_mod broadcast_mul
    broadcast_not_equal broadcast_plus broadcast_power broadcast_sub broadcast_to cast cbrt ceil clip concat cos cosh
    cumsum degrees depth_to_space dot elemwise_add elemwise_div elemwise_mul elemwise_sub erf erfinv exp expand_dims
    expm1 fix flatten flip floor gamma gammaln hard_sigmoid identity linalg_gemm linalg_gemm2 linalg_syrk log log10
    log1p log2 log_softmax logical_not max max_axis mean min min_axis negative norm one_hot ones_like pad pick prod
    radians rcbrt reciprocal relu repeat reshape reshape_like reverse rint round rsqrt sigmoid sign sin sinh slice
    slice_axis slice_like smooth_l1 softmax softmin softsign space_to_depth split sqrt square squeeze stack
    stop_gradient sum sum_axis swapaxes take tan tanh tile transpose trunc where zeros_like
    """.split()
    + [f"_{name}" for name in _BINARY.split()]
    + [f"_{name}Scalar" for name in _SCALAR.split()]
    + ["_LesserEqualScalar", "_HypotScalar"]
)
