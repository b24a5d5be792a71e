# SPDX-License-Identifier: Apache-2.0
"""The words of layer specifications: the layers and their options, in the spellings that people use."""

from __future__ import annotations

import re

__all__ = [
    "FUNCTIONS",
    "KINDS",
    "NUMBERS",
    "OPTIONS",
    "PAIRS",
    "SHORT",
    "SLIDING",
    "SPELLINGS",
    "TAKES",
    "WINDOWED",
    "tidied",
]

FUNCTIONS = (
    "relu", "relu6", "leaky-relu", "elu", "gelu", "silu", "swish", "hard-swish", "softplus", "sigmoid", "tanh", "softmax", "dropout",
)  # fmt: skip
"""Layers that keep the size and have no parameters."""
KINDS = (
    "input", "conv", "depthwise-conv", "pointwise-conv", "transposed-conv", "max-pool", "avg-pool", "adaptive-pool", "global-pool",
    "upsample", "flatten", "dense", "batch-norm", "layer-norm", "embedding", "attention", "lstm", "gru", "rnn", "output", *FUNCTIONS,
)  # fmt: skip
"""Every layer that a specification can hold."""
SPELLINGS = {
    **dict.fromkeys(("convolution", "conv1d", "conv2d", "conv3d"), "conv"),
    **dict.fromkeys(("depthwise", "dwconv", "depthwiseconv2d", "depthwise-convolution"), "depthwise-conv"),
    **dict.fromkeys(("pointwise", "pointwise-convolution", "conv1x1"), "pointwise-conv"),
    **dict.fromkeys(
        ("deconv", "conv-transpose", "transpose-conv", "transposed-convolution", "upconv", "up-conv"), "transposed-conv"
    ),
    **dict.fromkeys(("convtranspose1d", "convtranspose2d", "convtranspose3d", "deconvolution"), "transposed-conv"),
    **dict.fromkeys(("maxpool", "max-pooling", "maxpooling", "maxpool1d", "maxpool2d", "maxpool3d"), "max-pool"),
    **dict.fromkeys(
        ("avgpool", "average-pool", "averagepool", "mean-pool", "avg-pooling", "average-pooling"), "avg-pool"
    ),
    **dict.fromkeys(("avgpool1d", "avgpool2d", "avgpool3d"), "avg-pool"),
    **dict.fromkeys(("adaptivepool", "adaptive-avg-pool", "adaptive-max-pool", "adaptive-pooling"), "adaptive-pool"),
    **dict.fromkeys(("adaptiveavgpool2d", "adaptivemaxpool2d", "adaptive-average-pool"), "adaptive-pool"),
    **dict.fromkeys(("globalpool", "gap", "global-avg-pool", "global-average-pool", "global-max-pool"), "global-pool"),
    **dict.fromkeys(("globalavgpool", "globalmaxpool", "global-avg-pooling", "global-average-pooling"), "global-pool"),
    **dict.fromkeys(("global-max-pooling", "global-pooling"), "global-pool"),
    **dict.fromkeys(("upsampling", "up-sample", "upsample2d", "interpolate", "max-unpool", "unpool"), "upsample"),
    **dict.fromkeys(("fc", "linear", "fully-connected", "full", "affine", "dense-layer"), "dense"),
    **dict.fromkeys(
        ("batchnorm", "bn", "batchnorm1d", "batchnorm2d", "batch-normalization", "batch-normalisation"), "batch-norm"
    ),
    **dict.fromkeys(("layernorm", "ln", "layer-normalization", "layer-normalisation"), "layer-norm"),
    **dict.fromkeys(("embed", "token-embedding"), "embedding"),
    **dict.fromkeys(("self-attention", "multihead-attention", "multi-head-attention", "mha"), "attention"),
    "leakyrelu": "leaky-relu",
    "hardswish": "hard-swish",
    "flat": "flatten",
    "in": "input",
    "out": "output",
}
"""Other words for a layer, in small letters with - between their parts."""
PAIRS = {
    *(("transposed", word) for word in ("conv", "convolution")),
    *((word, "conv") for word in ("transpose", "depthwise", "pointwise", "up")),
    *((word, "pool") for word in ("max", "avg", "average", "global", "adaptive")),
    *((word, "pooling") for word in ("max", "avg", "average", "adaptive", "global", "global-avg", "global-average", "global-max")),
    *((word, "pool") for word in ("global-avg", "global-average", "global-max", "adaptive-avg", "adaptive-average", "adaptive-max")),
    *((first, second) for first in ("global", "adaptive") for second in ("avg", "average", "max")),
    *((word, second) for word in ("batch", "layer") for second in ("norm", "normalization", "normalisation")),
    ("depthwise", "convolution"), ("leaky", "relu"), ("fully", "connected"),
}  # fmt: skip
"""Kinds that may be written as two words."""

NUMBERS = {"stride", "padding", "dilation", "groups", "parameters", "multiplier"}
OPTIONS = {
    "pad": "padding",
    "strides": "stride",
    "kernel": "of",
    "kernel_size": "of",
    "window": "of",
    "size": "of",
    "group": "groups",
}
"""Other words for an option."""
WINDOWED = ("conv", "transposed-conv", "depthwise-conv")
"""Layers whose window may follow their number, conv 32 3x3."""

SHORT = {"s": "stride", "p": "padding", "d": "dilation", "g": "groups"}
"""The options of a window by their first letter, as in s2 p1."""
SLIDING = (*WINDOWED, "max-pool", "avg-pool")
"""Layers with such options."""
TAKES = {
    **dict.fromkeys(("conv", "transposed-conv"), ("stride", "padding", "dilation", "groups", "same", "no-bias")),
    "depthwise-conv": ("stride", "padding", "dilation", "multiplier", "same", "no-bias"),
    **dict.fromkeys(("max-pool", "avg-pool"), ("stride", "padding", "dilation", "same")),
    **dict.fromkeys(
        ("pointwise-conv", "dense", "output", "attention", "lstm", "gru", "rnn", "layer-norm"), ("no-bias",)
    ),
}
"""The options of each kind of layer besides `parameters` and `gives`; others would be read and have no effect."""


def tidied(words: str) -> str:
    """A layer with one space between its words, sizes without spaces, and `no-bias` as one word.

    >>> tidied("conv 6, 5 x 5, stride=2, without bias"), tidied("Input: 28 × 28 × 1")
    ('conv 6 5x5 stride 2 no-bias', 'Input 28×28×1')

    Args:
        words: of one layer.
    """
    words = re.sub(r"(?<=\d),(?=\d{3}\b)", "", words)  # 9,416 is one number
    words = " ".join(re.sub(r"[,=]|:(?=\s|$)", " ", words).split())
    words = re.sub(r"(?<=\d) ([x×]) (?=\d)", r"\1", words)
    return re.sub(r"\b(no[ _]?bias|without bias|bias (false|none|off|no))\b", "no-bias", words, flags=re.IGNORECASE)
