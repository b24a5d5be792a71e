# SPDX-License-Identifier: Apache-2.0
"""Equalities proved line by line, by name: each line equals the one before by a named rule, in symbols or at random points."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid.errors import UnknownNameError
from pellucid.worked.derivation.backward import BACKWARD
from pellucid.worked.derivation.equalities import EQUALITIES
from pellucid.worked.derivation.normalised import NORMALISED
from pellucid.worked.derivation.proof import Proof, ProofLine

__all__ = ["PROOFS", "Proof", "ProofLine", "prove"]

PROOFS: Mapping[str, Proof] = {**EQUALITIES, **BACKWARD, **NORMALISED}
"""The proofs by name."""


def prove(name: str) -> Proof:
    """A proof by name, checked.

    >>> prove("tanh-sigmoid").title
    'tanh x = 2σ(2x) − 1'

    Raises:
        UnknownNameError: no proof of this name.
    """
    if name not in PROOFS:
        raise UnknownNameError("proof", name, PROOFS)
    PROOFS[name].check()
    return PROOFS[name]
