# SPDX-License-Identifier: Apache-2.0
"""attribution: what each pixel adds to the answer, by the gradient of the input; and whether the map can be believed."""

from pellucid.lenses.attribution.attribution import Attribution

__all__ = ["Attribution"]
