# SPDX-License-Identifier: Apache-2.0
r"""What runs over an index: Σ_k x_k, \sum_{k=1}^{3} x_k, Σ_{j≠1} x_j, ∏_i x_i, and the loops for t = 1..3."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pellucid.worked.expressions.expression import At, Call, Const, Expr, Index, Name, Sum, rebuild
from pellucid.worked.notation.names import Names
from pellucid.worked.notation.statements import Loop, OverIndex
from pellucid.worked.notation.tokens import Token

__all__ = ["Indexed"]

SIGNS = {"Σ": "sum", "∏": "prod"}


class Indexed(Names):
    """The reading of sums, products and loops, and of the names whose number ends them."""

    def __init__(self, tokens: Sequence[Token], known: Iterable[str] = ()) -> None:
        Names.__init__(self, tokens)
        # what an equation begins with is a quantity and no function
        starts = list(zip([Token("sign", ";", (1, 1)), *self.tokens], self.tokens, self.tokens[1:], strict=False))
        self.defined = frozenset(known) | frozenset(
            name.text
            for before, name, after in starts
            if before.text == ";" and name.kind == "name" and after.text in ("=", "[", "{", "^")
        )
        # m = 2 may end a sum; a name that runs through a range itself has no number
        running = {name.text for before, name, after in starts if before.text != ";" and after.text in ("=", "in")}
        four = zip(self.tokens, self.tokens[1:], self.tokens[2:], self.tokens[3:], strict=False)
        self.ends = {
            name.text: Const(Fraction(number.text))
            for name, sign, number, end in four
            if name.kind == "name" and sign.text == "=" and number.kind == "number" and end.text == ";"
            if name.text not in running
        }

    @abstractmethod
    def product(self) -> Expr:
        """The product that begins here."""

    @abstractmethod
    def call(self, name: str, written: str, at: At, first: Sequence[Expr] = (), close: str = ")") -> Expr:
        """The call of a function, after its opening bracket."""

    def end_of_range(self) -> Expr:
        """A whole number, also as the name of a given one."""
        return self.counted(self.expression())

    def counted(self, what: Expr) -> Expr:
        """Names of given numbers as these numbers."""
        if isinstance(what, Name):
            return self.ends.get(what.name, what)
        return what if isinstance(what, Index) else rebuild(what, self.counted)

    def loop(self) -> Loop:
        """A loop variable with its range: t = 1..3, t = 1 to 3, t in 1..3."""
        token = self.next
        if token.kind != "name":
            self.fail("a loop variable must come here; write it as in for t = 1..3.")
        self.take()
        if not self.take("in"):
            self.want("=", "after a loop variable, as in t = 1..3")
        low = self.end_of_range()
        if not (self.take("to") or self.take(":")):
            self.want("..", "between the first and the last number, as in t = 1..3")
        return Loop(token.text, low, self.end_of_range(), token.at)

    def sigma(self, token: Token) -> Expr:
        """Σ_k a_k, Σ_{k=1}^{3} a_k, Σ(k = 1..3) a_k, Σ_{k≠2} a_k, ∏_k a_k: it reaches over the product behind it."""
        function = SIGNS.get(token.text, "sum")
        if self.next.text == "(" and self.tokens[self.here + 2].text == "=":
            self.take()
            loops = [self.loop()]
            self.want(")", "after the range of a sum")
            return self.over(function, loops, [], None, token.at)
        if self.next.text == "(":
            self.take()
            return self.call(function, function, token.at)
        below = self.next
        if below.kind != "name" or not (below.text.startswith("_") or below.text == "sum_"):
            self.fail("a sum needs its index; write it as in sum(x_k, k = 1..3).")
        self.take()
        free: list[Name] = []
        loops = []
        without: Expr | None = None
        if below.text in ("_", "sum_"):
            self.want("{", "before the index of a sum")
            while True:
                index = self.next
                sign = self.tokens[self.here + 1].text
                if sign == "=":
                    self.here += 2
                    loops.append(Loop(index.text, self.end_of_range(), Const(Fraction(0)), index.at))
                    if self.take(".."):
                        loops[-1] = Loop(index.text, loops[-1].low, self.end_of_range(), index.at)
                else:
                    self.take()
                    free.append(Name(index.text, index.at))
                    if self.take("!="):
                        without = self.end_of_range()
                if not self.take(","):
                    break
            self.want("}", "after the index of a sum")
            if loops and self.take("^"):
                high = self.counted(self.braced())
                loops = [Loop(loop.variable, loop.low, high, loop.at) for loop in loops]
            elif loops and loops[-1].high == Const(Fraction(0)):
                self.fail("a sum that begins at a number needs its end; write it as in sum(x_k, k = 1..3).")
        else:
            free = [Name(below.text[1:], below.at)]
        return self.over(function, loops, free, without, token.at)

    @abstractmethod
    def braced(self) -> Expr:
        """A number, a name, or an expression in braces."""

    def over(self, function: str, loops: list[Loop], free: list[Name], without: Expr | None, at: At) -> Expr:
        """The sum or product of what follows; a bracket right behind the sign is a bracket, [a + b] too."""
        if function == "sum" and without is None:
            return self.sum_over(self.product(), loops, free, at)
        body = self.product()
        if len(free) + len(loops) != 1:
            self.fail("here only one index may run; write a second sum around this one.")
        if free:
            return OverIndex(function, body, free[0].name, None, None, without, at)
        return OverIndex(function, body, loops[0].variable, loops[0].low, loops[0].high, without, at)

    def sum_over(self, body: Expr, loops: list[Loop], free: list[Name], at: At) -> Expr:
        """Sums with a range, the first the outermost, around those whose range is that of their vectors."""
        for name in reversed(free):
            body = Call("sum", (body, name), 0, at)
        for loop in reversed(loops):
            body = Sum(body, loop.variable, loop.low, loop.high, (), at)
        return body
