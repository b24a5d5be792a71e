# SPDX-License-Identifier: Apache-2.0
"""Answers written out as a person would: each step once, in symbols, then with numbers, then its result."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.expressions.evaluation import evaluate, substitute
from pellucid.worked.expressions.expression import Add, Const, Expr, Mul, Name, Partial, Value, names
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Answer, Block, CheckError, Heading, Line, Remark, Words
from pellucid.worked.worksheet.branches import branch_remarks
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers
from pellucid.worked.worksheet.graph import MAX_PATHS, Path
from pellucid.worked.worksheet.updating import OptimiserSteps
from pellucid.worked.worksheet.verifying import check_value

__all__ = ["AnswerWriter", "answer_questions"]


def answer_questions(numbers: CheckedNumbers, questions: Sequence[Question], paths: bool = True) -> tuple[Answer, ...]:
    """The answers to all questions; a step is shown once, later answers only repeat its result.

    Args:
        numbers: the checked numbers.
        questions: in order; without any, the quantities that no equation uses are asked.
        paths: list every path of a derivative, rather than go backwards from one quantity to those before it.
    """
    if not questions:
        last = [name for name in numbers.order if not numbers.graph.used_by[name]]
        questions = [Question((name,)) for name in last if not numbers.equations[name].given]
    # all derivatives of one quantity share a batch of central differences
    wanted: dict[str, dict[str, None]] = {}
    for question in questions:
        if question.of:
            wanted.setdefault(question.of, {}).update(dict.fromkeys(question.names))
    for of, by in wanted.items():
        numbers.prepare(of, list(by))
    writer = AnswerWriter(numbers, paths)
    return tuple(writer.answer(question) for question in questions)


class AnswerWriter:
    """Writes one answer after another and remembers which steps it has shown."""

    def __init__(self, numbers: CheckedNumbers, paths: bool = True) -> None:
        self.numbers = numbers
        self.listed_paths = paths
        self.graph = numbers.graph
        self.equations = numbers.equations
        self.shown: set[str] = set()  # names, and keys of derivatives

    def answer(self, question: Question) -> Answer:
        """The answer to one question."""
        if question.rule:
            return self.update(question)
        name = question.names[0]
        if not question.of:
            blocks = self.steps([name])
            return Answer((Name(name),), question.title, tuple(blocks), ((Name(name), self.numbers.values[name]),))
        symbol = Partial(question.of, name)
        value = self.graph.derivative(question.of, name)
        return Answer((symbol,), question.title, tuple(self.derivative(question.of, name)), ((symbol, value),))

    def update(self, question: Question) -> Answer:
        """The answer to `? W after n rule(…) on L`.

        Raises:
            UsageError: a parameter that is computed rather than given.
        """
        for name in question.names:
            if self.graph.uses[name]:
                raise UsageError(f"{position(question.at)}{name}: is computed; only given numbers can be updated.")
        optimiser = OptimiserSteps(self.numbers, question, self.known_or_worked)
        blocks: list[Block] = []
        for step in range(1, question.steps + 1):
            blocks += optimiser.step(step)
        results = tuple((Name(name), optimiser.values[name]) for name in question.names)
        blocks += optimiser.outcome()
        words: list[str | Expr] = []
        for name in question.names:
            words += [", ", Name(name)] if words else [Name(name)]
        middle = question.title.split(" after ", 1)[1].rsplit(" on ", 1)[0]
        title = (*words, f" after {middle} on ", Name(question.of))
        return Answer(title, question.title, tuple(blocks), results, question.of)

    def known_or_worked(self, of: str, by: str) -> list[Block]:
        """A derivative at the worksheet's own numbers: repeated if shown before, else worked out under a heading."""
        symbol = Partial(of, by)
        if symbol.key in self.shown:
            return [Remark(("from above: ", symbol, " = ", Const(self.graph.derivative(of, by))))]
        return [Heading((symbol,)), *self.derivative(of, by)]

    def steps(self, wanted: Iterable[str]) -> list[Block]:
        """The lines that lead to some values."""
        needed = set().union(*(self.graph.dependencies(name) for name in wanted))
        order = [name for name in self.numbers.order if name in needed]
        given = [name for name in order if self.equations[name].given and name not in self.shown]
        again = [name for name in order if not self.equations[name].given and name in self.shown]
        blocks: list[Block] = []
        if given:
            blocks.append(Remark(("given: ", *self._listed((Name(name), self.numbers.values[name]) for name in given))))
        if again:
            # of what was shown before, only what the new lines use is repeated
            used = {name for user in order if user not in self.shown for name in self.graph.uses[user]} | {*wanted}
            recalled = [(Name(name), self.numbers.values[name]) for name in again if name in used]
            blocks.append(Remark(("from above: ", *self._listed(recalled))))
        blocks += [self.value_line(name) for name in order if name not in self.shown and name not in given]
        self.shown |= {*order}
        return blocks

    def value_line(self, name: str) -> Line:
        """`name = symbols = numbers = result`."""
        right, values = self.equations[name].right, self.numbers.values
        forms = (right, substitute(right, values))
        remarks = tuple(branch_remarks(right, None, values))
        return Line(Name(name), forms, values[name], self.numbers.checks[name], remarks)

    def derivative(self, of: str, by: str) -> list[Block]:
        """The lines that lead to a derivative by the chain rule."""
        symbol = Partial(of, by)
        value = self.graph.derivative(of, by)
        check = self.numbers.check_derivative(of, by)
        if of == by:
            remark = ("the derivative of a quantity with respect to itself is 1",)
            return [Line(symbol, (), value, check, (remark,))]
        route = self.graph.route(by, of)
        if not route:
            self.shown.add(symbol.key)
            words: Words = (Name(of), " does not depend on ", Name(by), ".")
            return [Remark(words), Line(symbol, (), value, check)]
        on_route = {*route}
        edges = [(above, below) for above in reversed(route) for below in self.graph.uses[above] if below in on_route]
        # a slope may use what the value does not: softmax's other components
        used = {name for edge in edges for name in names(self.graph.local_derivative(*edge)[0])}
        needed = {*self.graph.dependencies(of), *used}
        blocks = self.steps([of, *used]) if any(name not in self.shown for name in needed) else []
        count = self.graph.path_count(by, of)
        if count == 1 and edges == [(of, by)]:  # one edge: the local derivative is the answer
            blocks.append(self._local_line(of, by))
            self.shown |= {symbol.key, "local " + symbol.key}
            return blocks
        blocks += self._locals(edges)
        entries = [name for name in self.graph.used_by[by] if name in on_route]
        if count > MAX_PATHS or (count > 1 and not self.listed_paths):  # nobody reads thousands of products
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

    def _locals(self, edges: list[tuple[str, str]]) -> list[Block]:
        """The local derivatives along the edges of a route, from its end to its beginning."""
        new = [edge for edge in edges if "local " + Partial(*edge).key not in self.shown]
        old = [edge for edge in edges if "local " + Partial(*edge).key in self.shown]
        blocks: list[Block] = [Heading(("local derivatives",))]
        if not new and not self.listed_paths:
            return []
        # a longer list helps nobody, and the lines of a backward pass have these numbers in them
        if old and len(old) <= 40 and self.listed_paths:
            recalled = ((Partial(*edge), self.graph.local_derivative(*edge)[1]) for edge in old)
            blocks.append(Remark(("from above: ", *self._listed(recalled))))
        blocks += [self._local_line(*edge) for edge in new]
        self.shown |= {"local " + Partial(*edge).key for edge in new}
        return blocks

    def _local_line(self, of: str, by: str) -> Line:
        slope, value = self.graph.local_derivative(of, by)
        values = self.numbers.values
        remarks = tuple(branch_remarks(self.equations[of].right, by, values))
        check = self.numbers.check_local(of, by, value)
        return Line(Partial(of, by), (slope, substitute(slope, values)), value, check, remarks)

    def _paths(self, of: str, by: str, entries: list[str]) -> list[Block]:
        """The product along every path, grouped by the first quantity of the path, and their sum."""
        paths = self.graph.paths(by, of)
        blocks: list[Block] = [Heading((f"{len(paths)} paths from ", Name(by), " to ", Name(of)))]
        parts: list[Value] = []
        for entry in entries:
            own = [path for path in paths if path[1] == entry]
            for path in own:
                value = self.graph.path_product(path)
                product = _product(path)
                exact = self._partials(path)
                numbers = {key: float(number) for key, number in exact.items()}
                check = check_value(" → ".join(path), product, value, numbers, exact)
                blocks.append(Line(None, tuple(self._forms(product, path)), value, check, label=(path,)))
            # the part of the sum that flows through this first quantity: a time step of a shared weight
            values = [self.graph.path_product(path) for path in own]
            total = evaluate(Add((Const(Fraction(0)), *map(Const, values))), {})
            parts.append(total)
            if len(entries) > 1 and len(own) > 1:
                line = self._sum(values, total, ("contribution of ", Name(entry)))
                blocks.append(line)
        value, check = self.graph.derivative(of, by), self.numbers.check_derivative(of, by)
        self._compare(of, by, parts, value)
        what = "contributions of " if len(entries) > 1 else "sum over the paths from "
        blocks.append(Heading((what, *(_and(entries)))))
        terms = parts if len(entries) > 1 else [self.graph.path_product(path) for path in paths]
        symbolic = Add(tuple(Mul((Partial(of, e), Partial(e, by))) if e != of else Partial(of, by) for e in entries))
        forms: tuple[Expr, ...] = (Add(tuple(map(Const, terms))),) if len(terms) > 1 else ()
        if len(entries) > 1 and of not in entries:
            forms = (symbolic, *forms)
        blocks.append(Line(Partial(of, by), forms, value, check))
        return blocks

    def _contribution(self, entry: str, product: Expr, known: dict[str, Value]) -> Line:
        """The gradient that flows back through one of the quantities that use a name."""
        value = evaluate(product, known)
        check = check_value(entry, product, value, {key: float(number) for key, number in known.items()}, known)
        return Line(None, (product, substitute(product, known)), value, check, label=("contribution of ", Name(entry)))

    def _compare(self, of: str, by: str, parts: list[Value], value: Value) -> None:
        """Refuse a sum over the paths that differs from the result of the backward pass."""
        along = evaluate(Add((Const(Fraction(0)), *map(Const, parts))), {})
        size = sum(abs(float(part)) for part in parts)  # large parts that cancel lose more
        if abs(float(along) - float(value)) > 1e-13 * size:
            raise CheckError(
                f"∂{of}/∂{by}={float(along):.10g}: the sum over the paths differs from the backward pass, "
                f"{float(value):.10g}; use numbers nearer to 1."
            )

    def _sum(self, values: list[Value], total: Value, label: Words) -> Line:
        node = Add(tuple(map(Const, values)))
        return Line(None, (node,), total, check_value("contribution", node, total, {}, {}), label=label)

    def _backward(self, of: str, by: str, route: list[str], count: int) -> list[Block]:
        """The backward pass along a route: the derivative of each quantity from those of its dependents."""
        shown = f"{count:,}" if count < 10**9 else "more than a billion"
        blocks: list[Block] = [Heading(("backwards from ", Name(of)))]
        rule = "each derivative is computed once, from those of the quantities that use it."
        if count > MAX_PATHS:
            blocks.append(Remark((f"{shown} paths lead from ", Name(by), " to ", Name(of), f", so {rule}")))
        elif "backward pass" not in self.shown:
            blocks.append(Remark((rule[0].upper() + rule[1:],)))
        self.shown.add("backward pass")
        gradient, on_route = self.graph.backward(of), {*route}
        self.numbers.prepare(of, route)
        for name in reversed(route[:-1]):
            key = Partial(of, name).key
            if key in self.shown:
                continue
            above = [user for user in self.graph.used_by[name] if user in on_route]
            factors = [(Partial(of, user), Partial(user, name)) for user in above]
            # ∂L/∂q = Σ_c ∂L/∂c · ∂c/∂q; ∂L/∂L = 1 is left out
            products = tuple(Mul(pair) if pair[0].of != pair[0].by else pair[1] for pair in factors)
            node = products[0] if len(products) == 1 else Add(products)
            if node == Partial(of, name) and "local " + key in self.shown:  # its line is there already
                self.shown.add(key)
                continue
            known = {top.key: gradient[user] for user, (top, _) in zip(above, factors, strict=True)}
            known |= {
                edge.key: self.graph.local_derivative(user, name)[1]
                for user, (_, edge) in zip(above, factors, strict=True)
            }
            check = self.numbers.check_derivative(of, name)
            if name == by and len(products) > 1:
                blocks += [
                    self._contribution(user, product, known) for user, product in zip(above, products, strict=True)
                ]
            blocks.append(Line(Partial(of, name), (node, substitute(node, known)), gradient[name], check))
            self.shown.add(key)
        if not isinstance(blocks[-1], Line) or blocks[-1].left != Partial(of, by):
            blocks.append(Line(Partial(of, by), (), gradient[by], self.numbers.check_derivative(of, by)))
        return blocks

    def _partials(self, path: Path) -> dict[str, Value]:
        pairs = itertools.pairwise(path)
        return {Partial(above, below).key: self.graph.local_derivative(above, below)[1] for below, above in pairs}

    def _forms(self, product: Expr, path: Path) -> tuple[Expr, Expr]:
        return product, substitute(product, self._partials(path))

    def _listed(self, pairs: Iterable[tuple[Expr, Value]]) -> Words:
        parts: list[str | Expr] = []
        for symbol, value in pairs:
            parts += [", " if parts else "", symbol, " = ", Const(value)]
        return tuple(part for part in parts if part != "")


def _product(path: Path) -> Expr:
    """∂L/∂h · ∂h/∂W, written from the end of the path to its beginning."""
    factors = tuple(Partial(above, below) for below, above in itertools.pairwise(path))[::-1]
    return factors[0] if len(factors) == 1 else Mul(factors)


def _and(entries: list[str]) -> Words:
    parts: list[str | Expr] = []
    for n, name in enumerate(entries):
        parts += ["" if n == 0 else " and " if n == len(entries) - 1 else ", ", Name(name)]
    return tuple(part for part in parts if part != "")
