# SPDX-License-Identifier: Apache-2.0
"""encoder_decoder: convolutions and max pooling down, and four ways back up to the image's own size."""

from pellucid.models.encoder_decoder.encoder_decoder import EncoderDecoder

__all__ = ["EncoderDecoder"]
