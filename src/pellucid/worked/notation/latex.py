# SPDX-License-Identifier: Apache-2.0
r"""LaTeX in a worksheet: words with a backslash turned into the tokens of the worksheet's own notation.

\sigma \hat{y} \mathbf{W}    names            \frac{a}{b} \sqrt{x}      (a)/(b), sqrt(x)
\cdot \times \odot \le       signs            \begin{pmatrix} … \end{pmatrix}   a matrix, of one column a vector
\partial L                   ∂L               \begin{cases} … \end{cases}       piecewise(…)
\left( \right) \, \quad      left out         \text{…} \mathrm{…}       their content
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pellucid.errors import UsageError
from pellucid.worked.expressions.position import position
from pellucid.worked.expressions.spelling import GREEK, canonical
from pellucid.worked.notation.tokens import Token

__all__ = ["without_latex"]

_ACCENTS: Final = {
    "hat": "hat",
    "widehat": "hat",
    "bar": "bar",
    "overline": "bar",
    "dot": "dot",
    "tilde": "tilde",
    "widetilde": "tilde",
}
_STYLES: Final = frozenset(
    ("mathbf", "mathrm", "mathit", "mathcal", "mathbb", "mathsf", "boldsymbol", "bm", "vec", "text", "textbf", "textit")
) | {"textrm", "operatorname", "underline"}
_SPACES: Final = frozenset(
    (*",;:!> 	", "quad", "qquad", "left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "bigg", "Bigg")
) | {"displaystyle", "limits", "nolimits"}
_SIGNS: Final = {
    **dict.fromkeys(("times", "ast", "odot", "circ"), "*"),
    **dict.fromkeys(("cdot", "bullet"), "·"),
    **dict.fromkeys(("ne", "neq"), "!="),
    **dict.fromkeys(("gets", "leftarrow"), "="),
    "lfloor": "⌊",
    "rfloor": "⌋",
    "lceil": "⌈",
    "rceil": "⌉",
    "langle": "⟨",
    "rangle": "⟩",
    **dict.fromkeys(("{", "lbrace"), "("),
    **dict.fromkeys(("}", "rbrace"), ")"),
    "prod": "∏",
    "div": "/",
    "le": "<=",
    "leq": "<=",
    "ge": ">=",
    "geq": ">=",
    "lt": "<",
    "gt": ">",
    "top": "⊤",
    "intercal": "⊤",
    **dict.fromkeys(("ldots", "dots", "cdots"), ".."),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    **dict.fromkeys(("lVert", "rVert", "Vert", "|"), "||"),
    "sum": "Σ",
    "\\": ";",
}
_VARIANTS: Final = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho", "varsigma": "sigma"}
_FUNCTIONS: Final = frozenset(["exp", "log", "ln", "tanh", "sinh", "cosh", "sin", "cos", "max", "min"])


def without_latex(tokens: Sequence[Token]) -> list[Token]:
    r"""The tokens without LaTeX.

    >>> from pellucid.worked.notation.tokens import tokenize
    >>> [token.text for token in without_latex(tokenize(r"\hat{y}_1 = \frac{1}{2} \cdot x"))][:10]
    ['yhat_1', '=', '(', '(', '1', ')', '/', '(', '2', ')']

    Raises:
        UsageError: a word of LaTeX without a meaning here.
    """
    if not any(token.kind == "latex" or token.text == "&" for token in tokens):
        return list(tokens)
    return _Rewriting(tokens).until(len(tokens))


class _Rewriting:
    """Goes through the tokens once; `here` is the next one."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        # the cell of a matrix has no end of its own
        self.tokens, self.here = [*tokens, Token("end", "", tokens[-1].at)], 0

    def until(self, end: int) -> list[Token]:
        written: list[Token] = []
        while self.here < end:
            token = self.tokens[self.here]
            if token.kind == "latex":
                self.here += 1
                self.word(token, written)
            elif token.text == "&":  # of an aligned equation
                self.here += 1
            else:
                self.here += 1
                _put(written, token)
        return written

    def argument(self, of: Token) -> list[Token]:
        """What follows in braces, or the next token alone."""
        if self.here >= len(self.tokens) or self.tokens[self.here].kind == "end":
            raise UsageError(f"{position(of.at)}{of.text}: needs what it applies to in braces; write {of.text}{{x}}.")
        token = self.tokens[self.here]
        if token.text != "{":
            end = self.here + 1
            if token.kind == "latex" and token.text[1:] in (*_ACCENTS, *_STYLES, "frac"):
                self.here += 1
                written: list[Token] = []
                self.word(token, written)
                return written
            return self.until(end)
        depth, end = 1, self.here + 1
        while depth:
            if end >= len(self.tokens) or self.tokens[end].kind == "end":
                raise UsageError(f"{position(of.at)}{of.text}: its braces are not closed here; add }}.")
            depth += (self.tokens[end].text == "{") - (self.tokens[end].text == "}")
            end += 1
        self.here += 1
        inner = self.until(end - 1)
        self.here = end
        return inner

    def word(self, token: Token, written: list[Token]) -> None:
        """Write out one word of LaTeX."""
        word, at = token.text[1:], token.at

        def sign(text: str, glued: bool = True) -> Token:
            return Token("sign", text, at, glued)

        word = _VARIANTS.get(word, word)
        if word in _SPACES:
            if word in ("left", "right") and self.tokens[self.here].text == ".":
                self.here += 1
        elif word in GREEK or word in _FUNCTIONS:
            _put(written, Token("name", word, at, token.glued))
        elif word in _SIGNS:
            written.append(sign(_SIGNS[word], token.glued))
        elif word in _ACCENTS:
            _put(written, _accented(token, self.argument(token), _ACCENTS[word]))
        elif word in _STYLES:
            for n, part in enumerate(self.argument(token)):
                _put(written, Token(part.kind, part.text, part.at, part.glued if n else token.glued))
        elif word in ("frac", "dfrac", "tfrac"):
            next = self.tokens[self.here]
            if next.kind == "number" and len(next.text) == 2 and next.text.isdigit():  # \frac12
                self.here += 1
                top, bottom = ([Token("number", digit, next.at, True)] for digit in next.text)
            else:
                top, bottom = self.argument(token), self.argument(token)
            if all(len(part) == 1 and part[0].text[0] in "d∂" and len(part[0].text) > 1 for part in (top, bottom)):
                written += [*top, sign("/"), *bottom]  # a derivative
            else:
                written += [sign("(", token.glued), sign("("), *top, sign(")"), sign("/"), sign("("), *bottom]
                written += [sign(")"), sign(")")]
        elif word == "sqrt":
            if self.tokens[self.here].text == "[":
                raise UsageError(f"{position(at)}\\sqrt[n]: only the square root has a sign; write x^(1/n).")
            written += [Token("name", "sqrt", at, token.glued), sign("("), *self.argument(token), sign(")")]
        elif word == "partial":
            of = self.argument(token) if self.tokens[self.here].text != "^" else [Token("name", "", at)]
            if not of or of[0].kind != "name":
                raise UsageError(f"{position(at)}\\partial: needs a name after it; write \\partial L.")
            _put(written, Token("name", "∂" + of[0].text, at, token.glued))
            written += of[1:]
        elif word == "begin":
            self.environment(token, written)
        else:
            raise UsageError(
                f"{position(at)}{token.text}: has no meaning in a worksheet; write it without LaTeX, "
                "as in sigmoid(z), a/b or sum(x_k, k = 1..3)."
            )

    def environment(self, token: Token, written: list[Token]) -> None:
        """A matrix as a list of rows, cases as piecewise, an aligned equation as its lines."""
        kind = "".join(inner.text for inner in self.argument(token)).rstrip("*")
        end = self.here
        while not (self.tokens[end].text == "\\end" or self.tokens[end].kind == "end"):
            end += 1
        if self.tokens[end].kind == "end":
            raise UsageError(f"{position(token.at)}\\begin{{{kind}}}: is not closed; add \\end{{{kind}}}.")
        rows: list[list[list[Token]]] = [[[]]]
        if kind in ("matrix", "pmatrix", "bmatrix", "cases"):
            while self.here < end:
                inner = self.tokens[self.here]
                if inner.text == "\\\\":
                    rows.append([[]])
                elif inner.text == "&":
                    rows[-1].append([])
                elif inner.text != ";":  # the end of a line in the text is not one of the matrix
                    rows[-1][-1].append(inner)
                self.here += 1
        elif kind in ("align", "aligned", "equation", "gather", "split"):
            written += self.until(end)
        else:
            raise UsageError(f"{position(token.at)}\\begin{{{kind}}}: has no meaning in a worksheet; write a list.")
        self.here = end + 1
        self.argument(token)  # the name after \end
        cells = [[without_latex(cell) for cell in row] for row in rows if any(row)]
        if kind == "cases":
            written += _cases(token, cells)
        elif kind in ("matrix", "pmatrix", "bmatrix"):
            written += _matrix(token, cells)


def _put(written: list[Token], token: Token) -> None:
    """Add a token; a subscript joins the name before it, and a name the d of its differential."""
    names = written and written[-1].kind == token.kind == "name" and token.glued
    if names and (token.text.startswith("_") or written[-1].text in ("d", "∂")):
        before = written[-1]
        written[-1] = Token("name", canonical(before.text + token.text), before.at, before.glued)
        return
    written.append(token)


def _accented(token: Token, inner: Sequence[Token], accent: str) -> Token:
    if len(inner) != 1 or inner[0].kind != "name":
        raise UsageError(f"{position(token.at)}{token.text}: stands over one name; write it as in \\hat{{y}}.")
    base, *below = inner[0].text.split("_")
    return Token("name", "_".join([base + accent, *below]), token.at, token.glued)


def _matrix(token: Token, rows: Sequence[Sequence[Sequence[Token]]]) -> list[Token]:
    """[[1, 2], [3, 4]]; a single column is a vector."""
    column = all(len(row) == 1 for row in rows)

    def sign(text: str) -> Token:
        return Token("sign", text, token.at, True)

    written = [sign("[")]
    for n, row in enumerate(rows):
        written += [sign(",")] * bool(n) + [sign("[")] * (not column)
        for k, cell in enumerate(row):
            written += [sign(",")] * bool(k) + list(cell)
        written += [sign("]")] * (not column)
    return [*written, sign("]")]


def _cases(token: Token, rows: Sequence[Sequence[Sequence[Token]]]) -> list[Token]:
    """piecewise(value if condition, …, value otherwise)."""
    written = [Token("name", "piecewise", token.at, token.glued), Token("sign", "(", token.at, True)]
    for n, row in enumerate(rows):
        if n:
            written.append(Token("sign", ",", token.at))
        written += [inner for inner in row[0] if inner.text != ","]
        words = [inner for cell in row[1:] for inner in cell if inner.text not in ("if", "for", "falls", ",")]
        if any(inner.text in ("otherwise", "else", "sonst") for inner in words) or not words:
            written.append(Token("name", "otherwise", token.at))
        else:
            written += [Token("name", "if", token.at), *words]
    return [*written, Token("sign", ")", token.at)]
