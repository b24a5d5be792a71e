# SPDX-License-Identifier: Apache-2.0
"""Optimisers over several steps, as lines and as a table: SGD, momentum, Nesterov's momentum, Adam.

The rules stand in `pellucid.worked.worksheet.updating`: v ← ρv − λ∂w, w ← w + v; Nesterov takes the gradient at w + ρv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Const, Expr, Name, Operand, Partial, Value, as_expr
from pellucid.worked.forms.presenting import Format, present, read_vector
from pellucid.worked.notation.questions import MAX_STEPS, OPTIMISERS, Question
from pellucid.worked.showing.grids import Table
from pellucid.worked.showing.lines import Answer, Line
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.verifying import check_value, floats
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "optimizer", "steps_table", "steps_tables"]

_OPTIONS: Final = ("lr", "rho", "beta1", "beta2", "eps")


def optimizer(
    loss: str,
    start: Mapping[str, Operand],
    *,
    rules: Sequence[str] = ("sgd",),
    steps: int = 3,
    **options: float | Fraction,
) -> Worksheet:
    """The worksheet of an optimiser's steps on a function; `steps_table` makes the table of them.

    >>> sheet = optimizer("(w - 3)^2/2", {"w": 1}, rules=["momentum"], steps=2, lr=0.1, rho=0.9)
    >>> print(sheet.solve().answers[0].results[0][1])
    39/25

    Args:
        loss: what is to become small, in the notation of worksheets, of the names in `start`.
        start: each parameter's first number.
        rules: sgd, momentum, nesterov, adam: one or several, each from the same start.
        steps: 1 to 1,000.
        options: lr, and rho, beta1, beta2, eps for those rules that have them; by default those of `Question`.

    Raises:
        UsageError: no parameter, or a number out of its range.
        UnknownNameError: a rule or an option that there is not.
    """
    if not start:
        raise UsageError("start={}: has no parameter; give one a number, as in w = 1.")
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps={steps}: must be from 1 to {MAX_STEPS}; choose such a number.")
    for rule in rules:
        if rule not in OPTIMISERS:
            raise UnknownNameError("rule", rule, OPTIMISERS)
    for name, option in options.items():
        if name not in _OPTIONS:
            raise UnknownNameError("option", name, _OPTIONS)
        if float(option) <= 0 if name in ("lr", "eps") else not 0 <= float(option) < 1:
            wanted = "above 0" if name in ("lr", "eps") else "from 0 to below 1"
            raise UsageError(f"{name}={float(option):g}: must be {wanted}; choose such a number.")
    sheet = Worksheet(f"L = {loss}")
    for name, number in start.items():
        sheet[name] = as_expr(number)
    for rule in rules:
        own = dict(OPTIMISERS[rule]) | {
            name: _exact(each) for name, each in options.items() if name in OPTIMISERS[rule]
        }
        written = ", ".join(f"{name}={_decimal(each)}" for name, each in own.items())
        sheet.ask(f"{', '.join(start)} after {steps} {rule}({written}) on L")
    return sheet


def steps_tables(solution: Solution) -> list[Table]:
    """A table for each question about an optimiser."""
    pairs = zip(solution.questions, solution.answers, strict=True)
    return [steps_table(solution, question, answer) for question, answer in pairs if question.rule]


def steps_table(solution: Solution, question: Question, answer: Answer) -> Table:
    """The steps of an optimiser, one a row: gradient, velocity or moments, the new numbers, and the loss there.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> solution = optimizer("(w - 3)^2/2", {"w": 1}, rules=["nesterov"], steps=2, lr=0.1, rho=0.9).solve()
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
    names, of = question.names, question.of
    steps = _by_step(answer, names[-1])
    state = [line.left for line in _rule(steps[0]) if line.left not in [Name(name) for name in names]]
    ahead = [Name(f"{name}_ahead") for name in names] if question.rule == "nesterov" else []
    columns: list[Expr] = [*ahead, *(Partial(of, name) for name in names), *(each for each in state if each)]
    columns += [Name(name) for name in names]
    numbers: dict[str, Value] = {name: solution.values[name] for name in names}
    blank = [""] * (len(columns) - len(names))
    rows: list[tuple[Expr | str, ...]] = [
        ("0", *blank, *(Const(numbers[name]) for name in names), Const(solution.values[of]))
    ]
    for count, lines in enumerate(steps, 1):
        # the first step looks nowhere, and what was worked out before is only recalled in the lines
        found: dict[Expr, Value] = {Name(f"{name}_ahead"): numbers[name] for name in names}
        found |= {Partial(of, name): solution.graph.derivative(of, name) for name in names}
        found |= dict(zip(ahead, (line.value for line in lines if line.label), strict=False))
        found |= {line.left: line.value for line in lines if line.left is not None}
        numbers = {name: found[Name(name)] for name in names}
        cells = (Const(found[each]) for each in columns)
        rows.append((str(count), *cells, Const(_loss_at(solution, of, numbers))))
    title = answer.key.split(" after ", 1)[1].lstrip("0123456789 ")
    return Table(title, ("step", *columns, Name(of)), tuple(rows))


def _by_step(answer: Answer, last: str) -> list[list[Line]]:
    """The lines of each step; a step ends with the update of the last parameter."""
    found: list[list[Line]] = [[]]
    for line in (block for block in answer.blocks if isinstance(block, Line)):
        found[-1].append(line)
        if line.left == Name(last) and line.sign == "←":
            found.append([])
    return found[:-1]


def _rule(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines of a step that come after its gradients."""
    slopes = [n for n, line in enumerate(lines) if isinstance(line.left, Partial)]
    return lines[slopes[-1] + 1 :] if slopes else [line for line in lines if not line.label]


def _loss_at(solution: Solution, of: str, numbers: Mapping[str, Value]) -> Value:
    """The loss with the parameters at other numbers, checked by NumPy."""
    solved = solution.numbers
    values: dict[str, Value] = {}
    with precision(solved.working_digits):
        for name in solved.order:
            values[name] = numbers[name] if name in numbers else evaluate(solved.equations[name].right, values, name)
    check_value(of, solved.equations[of].right, values[of], floats(values))
    return values[of]


def _exact(number: float | Fraction) -> Fraction:
    found = as_expr(number)
    assert isinstance(found, Const) and isinstance(found.value, Fraction)
    return found.value


def _decimal(number: Fraction) -> str:
    """A number as a decimal that a worksheet reads; a fraction that does not end is cut at 30 digits."""
    places = 0
    while places < 30 and (number * 10**places).denominator != 1:
        places += 1
    whole = round(number * 10**places)
    text = f"{whole:0{places + 1}d}"
    return f"{text[: len(text) - places]}.{text[len(text) - places :]}" if places else text


def _starts(text: str) -> dict[str, Operand]:
    """`w = 1, b = 0.5` as a mapping."""
    found: dict[str, Operand] = {}
    for part in (each for each in text.replace(";", ",").split(",") if each.strip()):
        name, equals, number = (each.strip() for each in part.partition("="))
        if not equals or not name.isidentifier() or name in found:
            raise UsageError(f"start={part.strip()!r}: must be a name and its number, each once, as in w = 1; mend it.")
        values = read_vector(number, "start")
        if len(values) != 1:
            raise UsageError(f"start={part.strip()!r}: gives {name} {len(values)} numbers; give it one.")
        found[name] = values[0]
    return found


def command(
    loss: str = "(w - 3)^2/2",
    /,
    *,
    start: str = "w = 1",
    rules: tuple[Literal["sgd", "momentum", "nesterov", "adam"], ...] = ("sgd", "momentum", "nesterov", "adam"),
    steps: int = 3,
    lr: float = 0.1,
    rho: float = 0.9,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work the steps of optimisers by hand: a table of each, and every line of it.

    Args:
        loss: what is to become small, as in "(w - 3)^2/2" or "(a + b)^2; b = 2".
        start: each parameter's first number, as in "w = 1, b = 0.5".
        rules: sgd, momentum, nesterov, adam; one or several, each from the same start.
        steps: how many, 1 to 1000.
        lr: learning rate λ.
        rho: momentum ρ, from 0 to below 1.
        beta1: Adam's decay of the mean of gradients.
        beta2: Adam's decay of the mean of their squares.
        eps: Adam's ε, which keeps the divisor from 0.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    sheet = optimizer(loss, _starts(start), rules=rules, steps=steps, lr=lr, rho=rho, beta1=beta1, beta2=beta2, eps=eps)
    tables = steps_tables(sheet.solve(exact=exact, digits=digits))
    return present(sheet, tables, exact=exact, digits=digits, verify=verify, format=format, out=out)
