# SPDX-License-Identifier: Apache-2.0
"""Questions answered the way a person writes: each step once, in symbols, with the numbers put in, and its result."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from pellucid.worked.branches import remarks
from pellucid.worked.chain import PATHS, Path
from pellucid.worked.evaluation import evaluate
from pellucid.worked.expression import Add, Const, Expr, Mul, Name, Partial, Value, replace
from pellucid.worked.lines import Answer, Block, Heading, Line, Remark, Words
from pellucid.worked.questions import Question
from pellucid.worked.verifying import check_value

if TYPE_CHECKING:
    from pellucid.worked.solution import Solution

__all__ = ["Answering", "answer_all", "put_in"]


def answer_all(solution: Solution) -> tuple[Answer, ...]:
    """The answers to all questions; a step that was shown is not shown again, its result is recalled."""
    questions = solution.worksheet.questions
    if not questions:
        last = [name for name in solution.order if not solution.graph.used_by[name]]
        questions = [Question((name,)) for name in last if not solution.worksheet.equations[name].given]
    wanted: dict[str, dict[str, None]] = {}
    for question in questions:
        if question.of:
            wanted.setdefault(question.of, {}).update(dict.fromkeys(question.names))
    for of, by in wanted.items():
        solution.prepare(of, list(by))
    answering = Answering(solution)
    return tuple(answering.answer(question) for question in questions)


def put_in(node: Expr, values: dict[str, Value]) -> Expr:
    """An expression with the numbers in the place of the names."""

    def number(inner: Expr) -> Expr | None:
        key = inner.name if isinstance(inner, Name) else inner.key if isinstance(inner, Partial) else None
        return None if key is None else Const(values[key])

    return replace(node, number)


class Answering:
    """One pass over the questions, which remembers what it has shown."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.graph = solution.graph
        self.equations = solution.worksheet.equations
        self.shown: set[str] = set()  # names, and keys of derivatives

    def answer(self, question: Question) -> Answer:
        """The answer to one question."""
        from pellucid.worked.updating import update

        if question.rule:
            return update(self, question)
        name = question.names[0]
        if not question.of:
            blocks = self.steps([name])
            return Answer((Name(name),), question.title, tuple(blocks), ((Name(name), self.solution.values[name]),))
        symbol = Partial(question.of, name)
        value = self.graph.derivative(question.of, name)
        return Answer((symbol,), question.title, tuple(self.derivative(question.of, name)), ((symbol, value),))

    def steps(self, wanted: Iterable[str]) -> list[Block]:
        """The lines that lead to some values."""
        below = set().union(*(self.graph.below(name) for name in wanted))
        order = [name for name in self.solution.order if name in below]
        given = [name for name in order if self.equations[name].given and name not in self.shown]
        again = [name for name in order if not self.equations[name].given and name in self.shown]
        blocks: list[Block] = []
        if given:
            blocks.append(Remark(("given: ", *self._listed((Name(name), self.solution.values[name]) for name in given))))
        if again:
            needed = {name for each in order if each not in self.shown for name in self.graph.uses[each]} | {*wanted}
            recalled = [(Name(name), self.solution.values[name]) for name in again if name in needed]
            blocks.append(Remark(("from above: ", *self._listed(recalled))))
        blocks += [self.value_line(name) for name in order if name not in self.shown and name not in given]
        self.shown |= {*order}
        return blocks

    def value_line(self, name: str) -> Line:
        """`name = symbols = numbers = result`."""
        right, values = self.equations[name].right, self.solution.values
        forms = (right, put_in(right, values))
        return Line(Name(name), forms, values[name], self.solution.checks[name], tuple(remarks(right, None, values)))

    def derivative(self, of: str, by: str) -> list[Block]:
        """The lines that lead to a derivative by the chain rule."""
        symbol = Partial(of, by)
        value = self.graph.derivative(of, by)
        check = self.solution.check_derivative(of, by)
        if of == by:
            return [Line(symbol, (), value, check, (("a quantity changes as itself",),))]
        route = self.graph.between(by, of)
        if not route:
            self.shown.add(symbol.key)
            words: Words = (Name(by), " does not occur in what ", Name(of), " is worked out from.")
            return [Remark(words), Line(symbol, (), value, check)]
        missing = [name for name in self.graph.below(of) if name not in self.shown]
        blocks = self.steps([of]) if missing else []
        blocks += self._locals(route)
        count = self.graph.count(by, of)
        entries = [name for name in self.graph.used_by[by] if name in route]
        if count > PATHS:
            blocks += self._backward(of, by, route, count)
        elif count == 1:
            path = self.graph.paths(by, of)[0]
            blocks.append(Remark(("one path leads from ", Name(by), " to ", Name(of), ": ", path, ".")))
            product = _product(path)
            blocks.append(Line(symbol, (*self._forms(product, path),), value, check))
        else:
            blocks += self._paths(of, by, entries)
        self.shown.add(symbol.key)
        return blocks

    def _locals(self, route: list[str]) -> list[Block]:
        """The local derivatives of all edges between the quantities of a route, from its end back."""
        there = {*route}
        edges = [(above, below) for above in reversed(route) for below in self.graph.uses[above] if below in there]
        new = [edge for edge in edges if "local " + Partial(*edge).key not in self.shown]
        old = [edge for edge in edges if "local " + Partial(*edge).key in self.shown]
        blocks: list[Block] = [Heading(("local derivatives",))]
        if old and len(old) <= 40:
            recalled = ((Partial(*edge), self.graph.local(*edge)[1]) for edge in old)
            blocks.append(Remark(("from above: ", *self._listed(recalled))))
        blocks += [self._local_line(*edge) for edge in new]
        self.shown |= {"local " + Partial(*edge).key for edge in new}
        return blocks

    def _local_line(self, of: str, by: str) -> Line:
        slope, value = self.graph.local(of, by)
        values = self.solution.values
        said = tuple(remarks(self.equations[of].right, by, values))
        check = self.solution.check_local(of, by, value)
        return Line(Partial(of, by), (slope, put_in(slope, values)), value, check, said)

    def _paths(self, of: str, by: str, entries: list[str]) -> list[Block]:
        """The paths, grouped by the equation in which the name occurs, and their sum."""
        paths = self.graph.paths(by, of)
        blocks: list[Block] = [Heading((f"{len(paths)} paths from ", Name(by), " to ", Name(of)))]
        parts: list[Value] = []
        for entry in entries:
            own = [path for path in paths if path[1] == entry]
            for path in own:
                value = self.graph.product(path)
                product = _product(path)
                numbers = {key: float(number) for key, number in self._partials(path).items()}
                check = check_value(" → ".join(path), product, value, numbers)
                blocks.append(Line(None, tuple(self._forms(product, path)), value, check, label=(path,)))
            values = [self.graph.product(path) for path in own]
            total = evaluate(Add((Const(Fraction(0)), *map(Const, values))), {})
            parts.append(total)
            if len(entries) > 1 and len(own) > 1:
                line = self._sum(values, total, ("contribution of ", Name(entry)))
                blocks.append(line)
        value, check = self.graph.derivative(of, by), self.solution.check_derivative(of, by)
        what = "contributions of " if len(entries) > 1 else "sum over the paths from "
        blocks.append(Heading((what, *(_and(entries)))))
        terms = parts if len(entries) > 1 else [self.graph.product(path) for path in paths]
        symbolic = Add(tuple(Mul((Partial(of, e), Partial(e, by))) if e != of else Partial(of, by) for e in entries))
        forms: tuple[Expr, ...] = (Add(tuple(map(Const, terms))),) if len(terms) > 1 else ()
        if len(entries) > 1 and of not in entries:
            forms = (symbolic, *forms)
        blocks.append(Line(Partial(of, by), forms, value, check))
        return blocks

    def _sum(self, values: list[Value], total: Value, label: Words) -> Line:
        node = Add(tuple(map(Const, values)))
        return Line(None, (node,), total, check_value("contribution", node, total, {}), label=label)

    def _backward(self, of: str, by: str, route: list[str], count: int) -> list[Block]:
        """The derivatives of everything on the way, from the end back, each from those after it."""
        shown = f"{count:,}" if count < 10**9 else "more than a thousand million"
        blocks: list[Block] = [
            Heading(("backwards from ", Name(of))),
            Remark((f"{shown} paths lead from ", Name(by), " to ", Name(of), "; so each quantity's derivative is",
                    " worked out once, from those of the quantities that use it.")),
        ]
        back, there = self.graph.back(of), {*route}
        self.solution.prepare(of, route)
        for name in reversed(route[:-1]):
            key = Partial(of, name).key
            if key in self.shown:
                continue
            above = [each for each in self.graph.used_by[name] if each in there]
            factors = [(Partial(of, each), Partial(each, name)) for each in above]
            products = tuple(Mul(pair) if pair[0].of != pair[0].by else pair[1] for pair in factors)
            node = products[0] if len(products) == 1 else Add(products)
            known = {top.key: back[each] for each, (top, _) in zip(above, factors, strict=True)}
            known |= {edge.key: self.graph.local(each, name)[1] for each, (_, edge) in zip(above, factors, strict=True)}
            check = self.solution.check_derivative(of, name)
            blocks.append(Line(Partial(of, name), (node, put_in(node, known)), back[name], check))
            self.shown.add(key)
        if not isinstance(blocks[-1], Line) or blocks[-1].left != Partial(of, by):
            blocks.append(Line(Partial(of, by), (), back[by], self.solution.check_derivative(of, by)))
        return blocks

    def _partials(self, path: Path) -> dict[str, Value]:
        pairs = zip(path, path[1:], strict=False)
        return {Partial(above, below).key: self.graph.local(above, below)[1] for below, above in pairs}

    def _forms(self, product: Expr, path: Path) -> tuple[Expr, Expr]:
        return product, put_in(product, self._partials(path))

    def _listed(self, pairs: Iterable[tuple[Expr, Value]]) -> Words:
        parts: list[str | Expr] = []
        for symbol, value in pairs:
            parts += [", " if parts else "", symbol, " = ", Const(value)]
        return tuple(part for part in parts if part != "")


def _product(path: Path) -> Expr:
    """∂L/∂h · ∂h/∂W, written from the end of the path back."""
    factors = tuple(Partial(above, below) for below, above in zip(path, path[1:], strict=False))[::-1]
    return factors[0] if len(factors) == 1 else Mul(factors)


def _and(entries: list[str]) -> Words:
    parts: list[str | Expr] = []
    for n, name in enumerate(entries):
        parts += ["" if n == 0 else " and " if n == len(entries) - 1 else ", ", Name(name)]
    return tuple(part for part in parts if part != "")
