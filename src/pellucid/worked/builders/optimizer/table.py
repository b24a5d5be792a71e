# SPDX-License-Identifier: Apache-2.0
"""The steps of an optimiser as a table: gradient, velocity or moments, the new numbers, and the loss there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, final

from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Const, Expr, Name, Partial, Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.grids import Table
from pellucid.worked.showing.lines import Answer, Line
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.verifying import check_value, floats

__all__ = ["Steps", "steps_table", "steps_tables"]


def steps_tables(solution: Solution) -> list[Table]:
    """A table for each question about an optimiser."""
    pairs = zip(solution.questions, solution.answers, strict=True)
    return [steps_table(solution, question, answer) for question, answer in pairs if question.rule]


def steps_table(solution: Solution, question: Question, answer: Answer) -> Table:
    """The steps of an optimiser, one per row.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> solution = Worksheet("L = (w - 3)^2/2; w = 1; ? w after 2 nesterov(lr=0.1, rho=0.9) on L").solve()
    >>> print(show_grid(steps_table(solution, solution.questions[0], solution.answers[0])))
    nesterov(lr=0.1, rho=0.9) on L
    <BLANKLINE>
      step  w_ahead  ∂L/∂w      v      w        L
      ───────────────────────────────────────────
         0                             1        2
         1        1     −2    0.2    1.2     1.62
         2     1.38  −1.62  0.342  1.542  1.06288

    Args:
        solution: of a worksheet.
        question: about an optimiser.
        answer: to it; its lines are what the table shows.
    """
    work = Steps.of(solution, question, answer)
    names, of = work.names, question.of
    columns = [*work.rows[0]]
    blank = [""] * (len(columns) - len(names))  # before the first step there is no gradient yet
    rows: list[tuple[Expr | str, ...]] = [
        ("0", *blank, *(Const(work.start[name]) for name in names), Const(solution.values[of]))
    ]
    for count, cells in enumerate(work.rows, 1):
        there = {name: cells[Name(name)] for name in names}
        rows.append((str(count), *(Const(cells[column]) for column in columns), Const(_loss_at(solution, of, there))))
    title = answer.key.split(" after ", 1)[1].lstrip("0123456789 ")
    return Table(title, ("step", *columns, Name(of)), tuple(rows))


@final
@dataclass(frozen=True)
class Steps:
    """The numbers of an optimiser's steps: where it starts, and for each step look-ahead point, gradient, state and parameters."""

    rule: str
    names: Sequence[str]
    start: Mapping[str, Value]
    rows: Sequence[Mapping[Expr, Value]]
    state: Sequence[Expr]  # velocities, one a parameter, or moments

    @classmethod
    def of(cls, solution: Solution, question: Question, answer: Answer) -> Self:
        """The steps in an answer."""
        names, of = question.names, question.of
        steps = _by_step(answer, names[-1])
        parameters = [Name(name) for name in names]
        # velocities or moments: what a step works out besides gradients and parameters
        state = [line.left for line in _rule(steps[0]) if line.left is not None and line.left not in parameters]
        ahead = [Name(f"{name}_ahead") for name in names] if question.rule == "nesterov" else []
        columns: list[Expr] = [*ahead, *(Partial(of, name) for name in names), *state, *parameters]
        start = {name: solution.values[name] for name in names}
        numbers, rows = start, []
        for lines in steps:
            # in the first step the velocity is 0 and w_ahead is w; what was worked out before is only recalled in the lines
            cells: dict[Expr, Value] = {Name(f"{name}_ahead"): numbers[name] for name in names}
            cells |= {Partial(of, name): solution.graph.derivative(of, name) for name in names}
            cells |= dict(zip(ahead, (line.value for line in lines if line.label), strict=False))
            cells |= {line.left: line.value for line in lines if line.left is not None}
            numbers = {name: cells[Name(name)] for name in names}
            rows.append({column: cells[column] for column in columns})
        return cls(question.rule, names, start, rows, state)


def _by_step(answer: Answer, last: str) -> list[list[Line]]:
    """The lines of each step; a step ends with the update of the last parameter."""
    steps: list[list[Line]] = [[]]
    for line in (block for block in answer.blocks if isinstance(block, Line)):
        steps[-1].append(line)
        if line.left == Name(last) and line.sign == "←":
            steps.append([])
    return steps[:-1]


def _rule(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines of a step that come after its gradients."""
    # velocities and moments come after the last gradient of a step
    gradients = [n for n, line in enumerate(lines) if isinstance(line.left, Partial)]
    return lines[gradients[-1] + 1 :] if gradients else [line for line in lines if not line.label]


def _loss_at(solution: Solution, of: str, numbers: Mapping[str, Value]) -> Value:
    """The loss at other numbers of the parameters, checked by NumPy."""
    solved = solution.numbers
    values: dict[str, Value] = {}
    # the whole sheet again: the loss may go through other equations
    with precision(solved.working_digits):
        for name in solved.order:
            values[name] = numbers[name] if name in numbers else evaluate(solved.equations[name].right, values, name)
    check_value(of, solved.equations[of].right, values[of], floats(values), values)
    return values[of]
