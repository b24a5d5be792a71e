# SPDX-License-Identifier: Apache-2.0
"""convolution: in one and two dimensions, with stride, padding and dilation; also as a product of matrices (im2col)."""

from pellucid.worked.builders.convolution.convolution import Convolution

__all__ = ["Convolution"]
