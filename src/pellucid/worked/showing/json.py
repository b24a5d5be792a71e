# SPDX-License-Identifier: Apache-2.0
"""Solutions as JSON: every number exactly if it is exact, and as float64."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from pellucid.worked.expressions.expression import Name, Value
from pellucid.worked.showing.lines import Block, Line, Sheet, Step
from pellucid.worked.showing.terminal import Unicode

__all__ = ["show"]


def show(sheet: Sheet) -> str:
    """A JSON document: `values` by name, and `answers` with their lines and checks.

    >>> json.loads(show(Sheet((), {"b": Fraction(1, 3)})))["values"]["b"]
    {'exact': '1/3', 'float': 0.3333333333333333}
    """
    setter = Unicode(sheet.digits, sheet.exact)
    return json.dumps(
        {
            "digits": sheet.digits,
            **({"remarks": [setter.text(words) for words in sheet.remarks]} if sheet.remarks else {}),
            "values": {name: number(sheet.values[name]) for name in sheet.values},
            "answers": [
                {
                    "question": answer.key,
                    "results": [
                        {"name": item.name if isinstance(item, Name) else getattr(item, "key", ""), **number(value)}
                        for item, value in answer.results
                    ],
                    "lines": [_block(block, setter) for block in answer.blocks],
                }
                for answer in sheet.answers
            ],
        },
        ensure_ascii=False,
        indent=1,
    )


def number(value: Value) -> dict[str, Any]:
    """A value exactly, or as a decimal in working precision, and as float64."""
    return {"exact" if isinstance(value, Fraction) else "decimal": str(value), "float": float(value)}


def _block(block: Block, setter: Unicode) -> dict[str, Any]:
    if isinstance(block, Step):
        texts = [part if isinstance(part, str) else setter.write(part) for part in block.forms]
        return {"kind": "step", "rule": block.rule, "forms": texts}
    if not isinstance(block, Line):
        return {"kind": type(block).__name__.lower(), "text": setter.text(block.words)}
    left, forms = setter.chain(block)
    check = block.check
    return {
        "kind": "line",
        "label": setter.text(block.label),
        "left": left,
        "forms": [form for _, form in forms[:-1]],
        "value": number(block.value),
        "remarks": [setter.text(words) for words in block.remarks],
        "check": None
        if check is None
        else {"how": check.how, "value": check.value, "tolerance": check.tolerance, "detail": check.detail},
    }
