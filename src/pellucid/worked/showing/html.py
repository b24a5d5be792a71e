# SPDX-License-Identifier: Apache-2.0
"""Solutions as HTML with MathML, which browsers render by themselves: no script, no font, no network."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import Final, final

from pellucid.worked.expressions.expression import Expr
from pellucid.worked.showing.lines import Answer, Heading, Line, Remark, Sheet, Step, check_text, summary
from pellucid.worked.showing.numerals import GREEK, Numeral, Symbol
from pellucid.worked.showing.plain import unicode_to_html
from pellucid.worked.showing.typesetting import ADD, ATOM, MUL, POW, Typesetter

__all__ = ["STYLE", "MathML", "fragment", "page"]

_ACCENTS: Final = {"hat": "^", "bar": "¯", "tilde": "~", "dot": "˙"}
_CALLS: Final = {"sigmoid": "σ", "log": "ln", "relu": "ReLU", "leaky_relu": "leakyReLU"}
STYLE: Final = """
.worked{--ink:#1b1f24;--soft:#5d6773;--line:#dfe3e8;--card:#fff;--good:#1a7f37;--mark:#0b5cad;--page:#f5f6f8;
 color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
@media (prefers-color-scheme:dark){.worked{--ink:#e6e9ed;--soft:#9aa4af;--line:#333a42;--card:#1d2126;--good:#57ab5a;
 --mark:#6cb0f5;--page:#14171a}}
.worked section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.9rem 1.2rem 1rem;
 margin:0 0 1rem;break-inside:avoid-page}
.worked h2 math{math-style:normal}
.worked h2{font-size:1.15rem;font-weight:600;color:var(--mark);margin:0 0 .5rem}
.worked h3{font-size:.85rem;font-weight:600;color:var(--soft);margin:.9rem 0 .2rem;text-transform:none}
.worked p{margin:.2rem 0;color:var(--soft)}
.worked .row{display:flex;flex-wrap:wrap;align-items:baseline;gap:.55rem .3rem;padding:.22rem 0;overflow:auto hidden}
.worked .row math{font-size:1.08em}
.worked .label{color:var(--soft)}
.worked .result{font-weight:600;background:color-mix(in srgb,var(--mark) 11%,transparent);border-radius:5px;
 padding:0 .3rem}
.worked .check{margin-left:auto;color:var(--good);font-size:.8rem;white-space:nowrap}
.worked .remark{margin:0 0 .3rem 1.4rem;font-size:.92rem}
.worked footer{color:var(--soft);font-size:.85rem}
"""
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>body{{margin:0}}main{{max-width:60rem;margin:0 auto;padding:1.5rem 1rem}}
.sheet{{background:var(--page);min-height:100vh}}{style}</style></head>
<body class="worked sheet"><main>
{body}
</main></body></html>"""


@final
class MathML(Typesetter):
    """Mathematics in MathML Core's presentation elements.

    >>> from pellucid.worked.expressions.expression import Name
    >>> MathML().write(Name("h_1"))
    '<msub><mi>h</mi><mn>1</mn></msub>'
    """

    def plain(self, text: str) -> str:
        return html.escape(text)

    def math(self, inner: str) -> str:
        return f"<math>{inner}</math>"

    def path(self, names: Sequence[str]) -> str:
        return self.math("<mo>→</mo>".join(names))

    def number(self, number: Numeral) -> tuple[str, int]:
        text = f"<mn>{number.digits}</mn>"
        if number.denominator:
            text = f"<mfrac>{text}<mn>{number.denominator}</mn></mfrac>"
        if number.power:
            sign, size = ("<mo>−</mo>" if number.power < 0 else ""), abs(number.power)
            ten = f"<msup><mn>10</mn><mrow>{sign}<mn>{size}</mn></mrow></msup>"
            text = f"{text}<mo>·</mo>{ten}" if number.digits != "1" else ten
        level = ADD if number.negative else MUL if number.power else POW if number.denominator else ATOM
        # form="prefix": otherwise a minus after another sign gets the spacing of a subtraction
        return ('<mo form="prefix">−</mo>' if number.negative else "") + text, level

    def name(self, name: Symbol) -> str:
        letters = html.escape(GREEK.get(name.base, unicodedata.normalize("NFC", name.base)))
        base = f"<mi>{letters}</mi>"
        if name.accent:
            base = f'<mover accent="true">{base}<mo>{_ACCENTS[name.accent]}</mo></mover>'
        above = f"<mrow><mo>(</mo>{_subscript(name.raised)}<mo>)</mo></mrow>"
        if not name.subscripts:
            return f"<msup>{base}{above}</msup>" if name.raised else base
        digits = all(len(part) == 1 and part.isdigit() for part in name.subscripts)
        parts = ("" if digits else "<mo>,</mo>").join(map(_subscript, name.subscripts))
        below = parts if len(name.subscripts) == 1 else f"<mrow>{parts}</mrow>"
        return f"<msubsup>{base}{below}{above}</msubsup>" if name.raised else f"<msub>{base}{below}</msub>"

    def partial(self, of: str, by: str) -> tuple[str, int]:
        return f"<mfrac><mrow><mo>∂</mo>{of}</mrow><mrow><mo>∂</mo>{by}</mrow></mfrac>", POW

    def brackets(self, inner: str) -> str:
        return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"

    def minus(self) -> str:
        return "−"

    def between(self, sign: str) -> str:
        return f"<mo>{html.escape(sign)}</mo>"

    def negative(self) -> str:
        return '<mo form="prefix">−</mo>'

    def mul(self, factors: Sequence[str]) -> str:
        return "<mo>·</mo>".join(factors)

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, int]:
        return f"<mfrac><mrow>{self.write(top)}</mrow><mrow>{self.write(bottom)}</mrow></mfrac>", POW

    def power(self, base: str, exponent: Expr) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{self.write(exponent)}</mrow></msup>"

    def call(self, name: str, args: Sequence[Expr], index: int) -> tuple[str, int]:
        inner = "<mo>,</mo>".join(self.write(arg) for arg in args)
        if name == "pi":
            return "<mi>π</mi>", ATOM
        if name == "sqrt":
            return f"<msqrt>{inner}</msqrt>", ATOM
        if name in ("floor", "ceil"):
            left, right = "⌊⌋" if name == "floor" else "⌈⌉"
            return f"<mrow><mo>{left}</mo>{inner}<mo>{right}</mo></mrow>", ATOM
        if name == "abs":
            return f"<mrow><mo>|</mo>{inner}<mo>|</mo></mrow>", ATOM
        called = f"<mi>{_CALLS.get(name, name)}</mi>"
        called = f"<msub>{called}<mn>{index}</mn></msub>" if index else called
        return f"<mrow>{called}<mo>&#x2061;</mo>{self.brackets(inner)}</mrow>", ATOM

    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str:
        rows = [(value, f"<mtext>if\u00a0</mtext>{test}") for value, test in branches]
        left = ' style="text-align:left"'
        cells = [
            f"<mtr><mtd{left}><mrow>{value}</mrow></mtd><mtd{left}><mrow>{test}</mrow></mtd></mtr>"
            for value, test in [*rows, (otherwise, "<mtext>otherwise</mtext>")]
        ]
        return f'<mrow><mo stretchy="true">{{</mo><mtable>{"".join(cells)}</mtable></mrow>'

    def sigma(self, body: str, index: str, low: str, high: str) -> str:
        below = f"<mrow><mi>{html.escape(index)}</mi><mo>=</mo>{low}</mrow>"
        if not low:
            return f"<mrow><munder><mo>∑</mo><mi>{html.escape(index)}</mi></munder>{body}</mrow>"
        return f"<mrow><munderover><mo>∑</mo>{below}<mrow>{high}</mrow></munderover>{body}</mrow>"

    def operator(self, by: str, inner: str) -> str:
        return f"<mrow><mfrac><mo>∂</mo><mrow><mo>∂</mo>{by}</mrow></mfrac>{inner}</mrow>"


def page(sheet: Sheet, verify: bool) -> str:
    """A self-contained page."""
    return _PAGE.format(title=html.escape(sheet.title or "Worksheet"), style=STYLE, body=_body(sheet, verify))


def fragment(sheet: Sheet, verify: bool = False) -> str:
    """The same as part of another page, such as a notebook."""
    return f'<div class="worked"><style>{STYLE}</style>\n{_body(sheet, verify)}\n</div>'


def _body(sheet: Sheet, verify: bool) -> str:
    setter = MathML(sheet.digits, sheet.exact)
    parts = [_answer(answer, setter, verify) for answer in sheet.answers]
    if sheet.remarks:
        remarks = "\n".join(f"<p>{setter.text(words)}</p>" for words in sheet.remarks)
        parts.insert(0, f"<section>{remarks}</section>")
    return "\n".join([*parts, f"<footer>{html.escape(summary(sheet))}</footer>"])


def _answer(answer: Answer, setter: MathML, verify: bool) -> str:
    parts = [f"<section><h2>{setter.text(answer.title)}</h2>"]
    for block in answer.blocks:
        match block:
            case Heading(words=words):
                parts.append(f"<h3>{setter.text(words)}</h3>")
            case Remark(words=words):
                parts.append(f"<p>{setter.text(words)}</p>")
            case Step():
                parts.append(_step(block, setter))
            case Line():
                parts.append(_line(block, setter, verify))
                parts += [f'<p class="remark">{setter.text(words)}</p>' for words in block.remarks]
    return "\n".join([*parts, "</section>"])


def _line(line: Line, setter: MathML, verify: bool) -> str:
    left, forms = setter.chain(line)
    cells = [f'<span class="label">{setter.text(line.label)}:</span>'] if line.label else []
    # one <math> for each form, so that a long line breaks before an equals sign
    cells += [f'<math display="inline" displaystyle="true">{left}</math>'] if left else []
    for n, (sign, form) in enumerate(forms):
        mark = f"<mo>{html.escape(sign)}</mo>" if sign else ""
        result = ' class="result"' if n == len(forms) - 1 else ""
        cells.append(f'<math displaystyle="true">{mark}<mrow{result}>{form}</mrow></math>')
    if verify and line.check:
        cells.append(f'<span class="check">✓ {html.escape(check_text(line.check))}</span>')
    return f'<div class="row">{"".join(cells)}</div>'


def _step(step: Step, setter: MathML) -> str:
    number = f"{step.number}. " if step.number else ""
    cells = [f'<span class="label">{number}{unicode_to_html(step.rule)}:</span>']
    for n, form in enumerate(step.forms):
        if isinstance(form, str):
            cells.append(f"<span>{'= ' if n else ''}{unicode_to_html(form)}</span>")
        else:
            cells.append(f'<math displaystyle="true">{"<mo>=</mo>" if n else ""}{setter.write(form)}</math>')
    return f'<div class="row">{"".join(cells)}</div>'


def _subscript(part: str) -> str:
    if part.startswith("<"):  # already MathML: an index with a loop variable
        return part
    return f"<mn>{part}</mn>" if part.isdigit() else f"<mi>{html.escape(GREEK.get(part, part))}</mi>"
