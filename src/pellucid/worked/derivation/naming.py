# SPDX-License-Identifier: Apache-2.0
"""The names that a person gives to a function and its parts: f_sm(z_j), or g and h for the quotient rule."""

from __future__ import annotations

import re
from typing import Final

from pellucid.errors import UsageError
from pellucid.worked.derivation.indexed import apart, indices_of
from pellucid.worked.derivation.parts import Parts, found_parts, share_of_sum
from pellucid.worked.derivation.text import to_text
from pellucid.worked.expressions.expression import Call, Div, Expr, Name, replace, walk
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Naming", "naming", "separated"]

_CALLED: Final = re.compile(r"(\w+)\((\w+)\)")
_RULE: Final = "write it as in f_sm(z_j), or p_j = exp(z_j)/sum(exp(z_k), k), or g, h for above and below of a quotient"


class Naming:
    """What a function and its parts are called.

    Args:
        own: the function's name inside the derivation, with its index.
        parts: its parts.
        argument: what stands in brackets behind the function's name, the z_j of f_sm(z_j), if anything.
    """

    def __init__(self, own: str, parts: Parts, argument: str = "") -> None:
        self.own, self.parts, self.argument = own, parts, argument

    def dressed(self, node: Expr) -> Expr:
        """An expression with f_sm(z_j) in place of f_sm_j."""
        if not self.argument:
            return node
        stem, letters = indices_of(self.own)
        below = indices_of(self.argument)[0]

        def change(part: Expr) -> Expr | None:
            if not isinstance(part, Name):
                return None
            other, theirs = indices_of(part.name)
            if other != stem or len(theirs) != len(letters):
                return None
            return Call(stem, (Name("_".join([below, *theirs])) if letters else Name(self.argument),))

        return replace(node, change)


def naming(node: Expr, wanted: str, used: set[str], free: list[str]) -> tuple[Expr, Naming]:
    """The names for a function and its parts, and the function written with those of its parts.

    >>> tree, names = naming(parse_expression("x/(1 + x)"), "g, h", {"x"}, [])
    >>> to_text(tree), names.own
    ('g/h', 'f')

    Args:
        node: the function.
        wanted: names that were given: for the function, or as name = expression for a part, between commas or semicolons.
        used: stems of the names in the function.
        free: its free indices.

    Raises:
        UsageError: a name that is used already, or a part that the function does not have.
    """
    bare: list[str] = []
    defined: dict[str, Expr] = {}
    for entry in separated(wanted):
        name, equals, right = entry.partition("=")
        if equals:
            defined[_name(name.strip())] = apart(parse_expression(right))
        else:
            bare.append(entry)
    if len(bare) in (2, 3):
        if not isinstance(node, Div):
            raise UsageError(
                f"as={wanted!r}: names above and below of a quotient, and this is none; write g = … instead."
            )
        above, below = bare[-2:]
        defined |= {_name(above): node.top, _name(below): node.bottom}
    elif len(bare) > 3:
        raise UsageError(f"as={wanted!r}: has too many names; {_RULE}.")
    own, argument = _own(bare[0] if len(bare) in (1, 3) else "", used | {indices_of(name)[0] for name in defined}, free)
    for name in (*defined, own):
        if indices_of(name)[0] in used:
            raise UsageError(f"as={name!r}: is a name in the expression already; choose another.")
    parts = Parts(defined, frozenset(indices_of(name)[0] for name, part in defined.items() if share_of_sum(part)))
    tree = parts.named(node)
    here = {indices_of(part.name)[0] for part in walk(tree) if isinstance(part, Name)}
    for name, part in defined.items():
        if indices_of(name)[0] not in here:
            raise UsageError(f"as={name!r}: the function has no part {to_text(part)}; write the part as it is there.")
    found = found_parts(tree, used | {indices_of(own)[0]} | {indices_of(name)[0] for name in defined})
    both = Parts({**defined, **found.defined}, parts.kept | found.kept)
    return found.named(tree), Naming(own, both, argument)


def separated(text: str) -> list[str]:
    """The entries of a list between commas or semicolons outside of brackets.

    >>> separated("f(x); p = max(a, b)")
    ['f(x)', 'p = max(a, b)']
    """
    entries, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter in ",;" and depth == 0:
            entries.append("")
        else:
            entries[-1] += letter
    return [entry.strip() for entry in entries if entry.strip()]


def _own(given: str, used: set[str], free: list[str]) -> tuple[str, str]:
    """The function's name with its index, and its argument; the next letter that is free if none is given."""
    if called := _CALLED.fullmatch(given):
        stem, argument = _name(called[1]), called[2]
        return ("_".join([stem, *indices_of(argument)[1]]), argument)
    name = _name(given) if given else next((letter for letter in "fghuv" if letter not in used), "F")
    return (f"{name}_{free[0]}" if len(free) == 1 and not indices_of(name)[1] else name), ""


def _name(text: str) -> str:
    if not text.isidentifier():
        raise UsageError(f"as={text!r}: is no name; {_RULE}.")
    return text
