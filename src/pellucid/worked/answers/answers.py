# SPDX-License-Identifier: Apache-2.0
"""Answers checked: which are right, which is the first that is wrong, what the slip may be, and what only follows from it.

>>> from pellucid.worked.worksheet.worksheet import Worksheet
>>> sheet = Worksheet("W = 2; x = 3; b = 1; z = W*x + b; L = (z - 5)^2; ? L; ? dL/dW")
>>> report = check_answers(sheet, "z = 6; L = 1; dL/dW = 6")
>>> [(each.key, each.status, each.slip) for each in report.checked]
[('z', 'wrong', 'bias left out'), ('L', 'follows', ''), ('dL/dW', 'follows', '')]
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.answers.reading import BadLine, Entry, Number, Target, agrees, moved, read_answers
from pellucid.worked.answers.report import Checked, Report
from pellucid.worked.answers.slip_search import Found, likely
from pellucid.worked.answers.slips_numbers import copied
from pellucid.worked.answers.world import Exhausted, Work, World
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Expr, Partial, Value, names
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Words
from pellucid.worked.worksheet.answering import AnswerWriter
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["check_answers"]

WORK: Final = 20_000  # equations worked out to find the slip of one answer
ALL: Final = 150_000  # and of all answers


def check_answers(sheet: Worksheet, text: str, *, digits: int = 6) -> Report:
    """Check a text of answers against a worksheet; `pellucid.worked.answers.reading` says how they are written.

    Args:
        sheet: the worksheet.
        text: one `name = value` a line.
        digits: significant digits that are shown, 1 to 50.

    Raises:
        UsageError: a worksheet that has no solution, a text that is far too long.
    """
    solved = sheet.solve(digits=digits).numbers
    entries, bad = read_answers(text, sheet)
    with precision(solved.working_digits):
        truths, worse = _truths(solved, entries)
        checking = _Checking(solved, truths)
        entries = [entry for entry in entries if entry.target in truths and checking.readable(entry, worse)]
        checked = checking.all(entries)
    answered = {entry.target.key for entry in entries}
    asked = [Target(n, q.of, q if q.rule else None).key for q in sheet.questions for n in q.names]
    missing = tuple(dict.fromkeys(key for key in asked if key not in answered))
    lines = sorted([*bad, *worse], key=lambda each: each.line)
    return Report(tuple(sorted(checked, key=lambda each: each.entry.at)), tuple(lines), missing, digits)


def _truths(solved: CheckedNumbers, entries: Sequence[Entry]) -> tuple[dict[Target, Value], list[BadLine]]:
    """The right numbers, each checked as those of a solution are; and what has none."""
    found: dict[Target, Value] = {}
    bad: list[BadLine] = []
    updates: dict[Question, Mapping[Expr, Value]] = {}
    wanted: dict[str, list[str]] = {}
    for target in (entry.target for entry in entries):
        if target.of and not target.update:
            wanted.setdefault(target.of, []).append(target.name)
    for of, by in wanted.items():
        solved.prepare(of, by)
    for entry in entries:
        target = entry.target
        try:
            if target.update:
                if target.update not in updates:
                    updates[target.update] = dict(AnswerWriter(solved).update(target.update).results)
                found[target] = updates[target.update][target.symbol]
            elif target.of:
                found[target] = solved.derivative(target.of, target.name)
            else:
                found[target] = solved.value(target.name)
        except UsageError as fault:
            rule = str(fault).partition(": ")[2] if str(fault).startswith("line ") else str(fault)
            bad.append(BadLine(entry.at[0], target.key, f"line {entry.at[0]}, column {entry.at[1]}: {rule}"))
    return found, bad


@final
class _Checking:
    """One pass over the answers, each after those that it depends on."""

    def __init__(self, solved: CheckedNumbers, truths: Mapping[Target, Value]) -> None:
        self.solved, self.graph, self.truths = solved, solved.graph, truths
        self.work = Work(0)
        self.left = ALL
        self.true = World(solved, work=self.work)
        self.slipped = self.true  # with the slips that were found, else the wrong numbers
        self.written = self.true  # with the numbers as they were written, right ones too
        self.low = self.high = self.true  # half a unit of the last digit below and above
        self.done: dict[Target, Checked] = {}

    def all(self, entries: Sequence[Entry]) -> list[Checked]:
        before = self.dependencies(entries)
        waiting = {n: len(each) for n, each in before.items()}
        after: dict[int, list[int]] = {n: [] for n in before}
        for n, each in before.items():
            for m in each:
                after[m].append(n)
        ready = [n for n, count in waiting.items() if not count]
        heapq.heapify(ready)
        while ready:
            n = heapq.heappop(ready)
            self.done[entries[n].target] = self.check(entries[n], [entries[m] for m in sorted(before[n])])
            for m in after[n]:
                waiting[m] -= 1
                if not waiting[m]:
                    heapq.heappush(ready, m)
        return list(self.done.values())

    def readable(self, entry: Entry, bad: list[BadLine]) -> bool:
        """Whether a formula has a number; one that has none is a bad line."""
        try:
            self.number(entry, self.true)
        except UsageError as fault:
            bad.append(BadLine(entry.at[0], entry.text, moved(str(fault), entry.at[0] - 1)))
            return False
        return True

    def dependencies(self, entries: Sequence[Entry]) -> dict[int, set[int]]:
        """Which answers each one may have been worked out from."""
        values = {e.target.name: n for n, e in enumerate(entries) if not e.target.of}
        slopes = {(e.target.of, e.target.name): n for n, e in enumerate(entries) if e.target.of and not e.target.update}
        found: dict[int, set[int]] = {}
        for n, entry in enumerate(entries):
            target = entry.target
            below = self.graph.dependencies(target.of or target.name)
            own = {values[name] for name in values.keys() & below} - {n}
            by = target.update.names if target.update else (target.name,) if target.of else ()
            for name in by:
                route = {*self.graph.route(name, target.of)}
                own |= {
                    m for (of, other), m in slopes.items() if m != n and of in route and other in route and of != other
                }
            found[n] = own
        return found

    def check(self, entry: Entry, before: Sequence[Entry]) -> Checked:
        target, truth = entry.target, self.truths[entry.target]
        self.work.left = 10**9
        given = self.number(entry, self.true)
        assert given is not None
        if agrees(given, truth):
            self.take(entry, truth, None)
            return Checked(entry, "right", given.value, truth, reason=self.general(entry))
        wrong = [each for each in self.done.values() if each.status == "wrong"]
        # a number that is held only because it was rounded does not make a later one wrong
        reached = self.reached(target, truth) if wrong else False
        if reached and self.follows(entry):
            self.take(entry, given.value, None, kept=not self.fits(self.slipped, entry))
            lines = [self.done[each.target] for each in before]
            after = tuple(sorted({each.entry.at[0] for each in lines if each.status == "wrong"}))
            again = after or tuple(sorted({n for each in lines for n in each.after})) or (wrong[0].entry.at[0],)
            return Checked(entry, "follows", given.value, truth, after=again)
        rounded = self.fits(self.written, entry)
        found = self.search(entry, given)
        best = found[0] if found else None
        self.take(entry, given.value, best, kept=best is None)
        made = Checked(
            entry,
            "wrong",
            given.value,
            truth,
            not wrong,
            best.words if best else (),
            best.slip.name if best else "",
            tuple((each.slip.name, each.words) for each in found[1:3] if best and each.score < best.score + 1),
        )
        if self.solved.equations[target.name].given and not target.of:
            return replace(made, reason=copied(given, truth, target, {}), slip="miscopied", others=())
        if rounded:
            reason = ("it is worked out from the rounded numbers above; keep more digits on the way",)
            return replace(made, reason=reason, slip="rounded too early", others=())
        return made if best or self.left > 0 else replace(made, reason=("many are wrong: no slip was looked for",))

    def number(self, entry: Entry, world: World) -> Number | None:
        """The number given; of a formula what it comes to with a world's numbers."""
        if entry.number is not None:
            return entry.number
        numbers: dict[str, Value] = dict(world.values(entry.target.of or entry.target.name))
        try:
            for key, symbol in names(entry.formula).items():
                if isinstance(symbol, Partial):
                    numbers[key] = world.answer(Target(symbol.by, symbol.of))
                elif key not in numbers:
                    numbers[key] = world.answer(Target(key))
            return Number(evaluate(entry.formula, numbers), Fraction(0), entry.digits)
        except UsageError:
            if world is self.true:
                raise
            return None

    def fits(self, world: World, entry: Entry) -> bool:
        """Whether an answer is what a world answers."""
        try:
            given = self.number(entry, world)
            return given is not None and agrees(given, world.answer(entry.target))
        except (UsageError, ArithmeticError, ValueError, KeyError):
            return False

    def reached(self, target: Target, truth: Value) -> bool:
        """Whether earlier wrong numbers change what is right here."""
        for world in (self.slipped, self.low, self.high):
            try:
                if abs(Fraction(world.answer(target)) - Fraction(truth)) > abs(Fraction(truth)) / 10**20:
                    return True
            except (UsageError, ArithmeticError, ValueError, KeyError):
                return True
        return False

    def follows(self, entry: Entry) -> bool:
        """Whether an answer is right for someone who goes on from the earlier wrong ones."""
        if self.fits(self.slipped, entry) or self.fits(self.written, entry):
            return True
        given = entry.number
        if given is None or self.low is self.high:
            return False
        try:
            ends = sorted(Fraction(world.answer(entry.target)) for world in (self.low, self.high))
        except (UsageError, ArithmeticError, ValueError, KeyError):
            return False
        return ends[0] - given.unit < Fraction(given.value) < ends[1] + given.unit

    def take(self, entry: Entry, value: Value, found: Found | None, kept: bool = False) -> None:
        """Go on with an answer: with the slip that explains it, and with the number as it was written."""
        target = entry.target
        own = entry.number.value if entry.number else value
        half = entry.number.unit / 2 if entry.number else Fraction(0)
        if found is not None and found.world is not None:
            self.slipped = self.low = self.high = found.world
        elif found is not None or kept:
            self.slipped = self.slipped.with_answer(target, own)
            self.low = self.low.with_answer(target, Fraction(own) - half)
            self.high = self.high.with_answer(target, Fraction(own) + half)
        elif value == self.truths[target] and self.slipped is not self.true and not self.fits(self.slipped, entry):
            self.slipped = self.slipped.with_answer(target, value)
            self.low, self.high = self.low.with_answer(target, value), self.high.with_answer(target, value)
        self.written = self.written.with_answer(target, own)

    def search(self, entry: Entry, given: Number) -> list[Found]:
        """The slips that lead to a wrong number, as far as the work goes."""
        if self.left <= 0:
            return []
        self.work.left = min(WORK, self.left)
        worlds = [self.slipped] if self.slipped is self.true else [self.slipped, self.true]
        before = self.work.left
        try:
            right = {
                each.entry.target.name
                for each in self.done.values()
                if each.status == "right" and not each.entry.target.of
            }
            return likely(worlds, entry.target, given, right)
        except Exhausted:
            return []
        finally:
            self.left -= before - max(0, self.work.left)
            self.work.left = 10**9

    def general(self, entry: Entry) -> Words:
        """What is to be said of a formula that is right with these numbers only."""
        if entry.number is not None or not names(entry.formula) or entry.target.update:
            return ()
        given = [name for name in self.solved.order if self.solved.equations[name].given]
        held: dict[str, Value] = {
            name: Fraction(self.solved.values[name]) * (1 + Fraction(n % 7 + 1, 97)) for n, name in enumerate(given)
        }
        elsewhere = World(self.solved, held=held, work=self.work)
        try:
            number = self.number(entry, elsewhere)
            if number is None or agrees(Number(number.value, Fraction(0), 0), elsewhere.answer(entry.target)):
                return ()
        except (UsageError, ArithmeticError, ValueError, KeyError):
            return ()
        return ("right with these numbers; with others this formula is not ", entry.target.symbol)
