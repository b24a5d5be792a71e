# SPDX-License-Identifier: Apache-2.0
"""One spelling for every name: ŷ is yhat, σ̂ is sigmahat, λ is lambda, so that what looks alike is one quantity."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from typing import Final

__all__ = ["ACCENTS", "GREEK", "canonical"]

# fmt: off
GREEK: Final[Mapping[str, str]] = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Omega": "Ω",
}
# fmt: on
ACCENTS: Final[Mapping[str, str]] = {
    "\u0302": "hat",
    "\u0304": "bar",
    "\u0305": "bar",
    "\u0303": "tilde",
    "\u0307": "dot",
}
"""A combining mark -> the word that stands for it in a name."""

_WORDS: Final = {letter: word for word, letter in GREEK.items()}
# other code points of the same letters: ϵ and ε, ϕ and φ, µ (micro) and μ
_VARIANTS: Final = str.maketrans({"ϵ": "ε", "ϕ": "φ", "ϑ": "θ", "ϱ": "ρ", "µ": "μ", "Ω": "Ω"})


@functools.lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """The one spelling of a name.

    >>> canonical("ŷ_1"), canonical("y\u0302_1"), canonical("σ"), canonical("dŷ"), canonical("é")
    ('yhat_1', 'yhat_1', 'sigma', 'dyhat', 'é')
    """
    if name.isascii():
        return name
    first, *rest = unicodedata.normalize("NFC", name.translate(_VARIANTS)).split("_")
    # dŷ and ∂ŷ are differentials of ŷ
    prefix = first[:1] if first[:1] in ("d", "∂") and len(first) > 1 else ""
    return "_".join([prefix + _part(first[len(prefix) :]), *map(_part, rest)])


def _part(text: str) -> str:
    """A base or a subscript: a single Greek letter as its word, a single accent as its word."""
    apart = unicodedata.normalize("NFD", text)
    letter, marks = apart[:1], apart[1:]
    if not all(map(unicodedata.combining, marks)):
        return text  # a word of several letters
    if marks in ACCENTS:
        return _WORDS.get(letter, letter) + ACCENTS[marks]
    return text if marks else _WORDS.get(text, text)
