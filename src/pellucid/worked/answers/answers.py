# SPDX-License-Identifier: Apache-2.0
"""Answers checked: which are right, which is the first wrong one, the likely slip, and what only follows from it.

>>> from pellucid.worked.worksheet.worksheet import Worksheet
>>> sheet = Worksheet("W = 2; x = 3; b = 1; z = W*x + b; L = (z - 5)^2; ? L; ? dL/dW")
>>> report = check_answers(sheet, "z = 6; L = 1; dL/dW = 6")
>>> [(answer.key, answer.status, answer.slip) for answer in report.checked]
[('z', 'wrong', 'bias left out'), ('L', 'follows', ''), ('dL/dW', 'follows', '')]
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.answers.entry import BadLine, Entry, Number, Target, Tolerance, agrees, allowed, unit_of
from pellucid.worked.answers.reading import moved, read_answers
from pellucid.worked.answers.report import Checked, Report
from pellucid.worked.answers.slip_search import Candidate, likely
from pellucid.worked.answers.slips_numbers import copied
from pellucid.worked.answers.variant import UNLIMITED, Budget, Exhausted, Variant
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Const, Expr, Partial, Value, names, walk
from pellucid.worked.expressions.expression import replace as replace_in
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Words
from pellucid.worked.worksheet.answering import AnswerWriter
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["check_answers"]

PER_ANSWER: Final = 20_000  # equations worked out to find the slip of one answer
IN_ALL: Final = 150_000  # equations worked out to find the slips of all answers
_NO_NUMBER: Final = (UsageError, ArithmeticError, ValueError, KeyError)  # earlier wrong numbers may lead nowhere


def check_answers(sheet: Worksheet, text: str, *, digits: int = 6, tolerance: str = "3s") -> Report:
    """Check a text of answers against a worksheet; `pellucid.worked.answers.reading` says how they are written.

    Args:
        sheet: the worksheet.
        text: one `name = value` a line.
        digits: significant digits that are shown, 1 to 50.
        tolerance: how near a number must be: 3s to three significant digits, 2d to two decimals, 1% of the true number.

    Raises:
        UsageError: a worksheet that has no solution, a text that is far too long.
    """
    rule = Tolerance.parse(tolerance)
    solved = sheet.solve(digits=digits).numbers
    entries, unreadable = read_answers(text, sheet, rule)
    with precision(solved.working_digits):
        truths, without_number = _truths(solved, entries)
        checking = _Checking(solved, truths, rule, sheet.questions)
        # what has no true number cannot be right or wrong
        entries = [entry for entry in entries if entry.target in truths and checking.readable(entry, without_number)]
        checked = checking.all(entries)
    answered = {entry.target.key for entry in entries}
    asked = [Target(n, q.of, q if q.rule else None).key for q in sheet.questions for n in q.names]
    # in the order of the questions, each once
    missing = tuple(dict.fromkeys(key for key in asked if key not in answered))
    bad = sorted([*unreadable, *without_number], key=lambda line: line.line)
    return Report(tuple(sorted(checked, key=lambda answer: answer.entry.at)), tuple(bad), missing, digits, rule)


def _truths(solved: CheckedNumbers, entries: Sequence[Entry]) -> tuple[dict[Target, Value], list[BadLine]]:
    """The right numbers, each checked as those of a solution are, and the lines for which there is none."""
    truths: dict[Target, Value] = {}
    bad: list[BadLine] = []
    updates: dict[Question, Mapping[Expr, Value]] = {}
    wanted: dict[str, list[str]] = {}
    for target in (entry.target for entry in entries):
        if target.of and not target.update:
            wanted.setdefault(target.of, []).append(target.name)
    for of, by in wanted.items():
        solved.prepare(of, by)  # all derivatives of one quantity are checked at once
    for entry in entries:
        target = entry.target
        try:
            if target.update:
                if target.update not in updates:
                    updates[target.update] = dict(AnswerWriter(solved).update(target.update).results)
                truths[target] = updates[target.update][target.symbol]
            elif target.of:
                truths[target] = solved.derivative(target.of, target.name)
            else:
                truths[target] = solved.value(target.name)
        except UsageError as fault:
            rule = str(fault).partition(": ")[2] if str(fault).startswith("line ") else str(fault)
            bad.append(BadLine(entry.at[0], target.key, f"line {entry.at[0]}, column {entry.at[1]}: {rule}"))
    return truths, bad


@final
class _Checking:
    """One pass over the answers, each after those that it depends on.

    Four variants of the worksheet go along: `slipped` with the slips that were found, and the numbers of wrong answers without
    one; `written` with every number as it was written, right ones too; `low` and `high` with wrong numbers half a unit of their
    last digit smaller and larger, for a learner who goes on with more digits than were written.
    """

    def __init__(
        self,
        solved: CheckedNumbers,
        truths: Mapping[Target, Value],
        tolerance: Tolerance,
        questions: Sequence[Question],
    ) -> None:
        self.solved, self.graph, self.truths, self.tolerance = solved, solved.graph, truths, tolerance
        self.updates = [question for question in questions if question.rule]
        self.budget = Budget(0)
        self.left = IN_ALL
        self.true = Variant(solved, budget=self.budget)
        self.slipped = self.written = self.low = self.high = self.true
        self.done: dict[Target, Checked] = {}

    def all(self, entries: Sequence[Entry]) -> list[Checked]:
        before = self.dependencies(entries)
        waiting = {n: len(earlier) for n, earlier in before.items()}
        after: dict[int, list[int]] = {n: [] for n in before}
        for n, earlier in before.items():
            for m in earlier:
                after[m].append(n)
        # a topological order; of those that are ready, the one that was written first
        ready = [n for n, count in waiting.items() if not count]
        heapq.heapify(ready)
        while ready:
            n = heapq.heappop(ready)
            verdict = self.check(entries[n], [entries[m] for m in sorted(before[n])])
            self.done[entries[n].target] = self.chained(entries[n], verdict) if entries[n].links else verdict
            for m in after[n]:
                waiting[m] -= 1
                if not waiting[m]:
                    heapq.heappush(ready, m)
        return list(self.done.values())

    def readable(self, entry: Entry, bad: list[BadLine]) -> bool:
        """Whether a formula has a number; if it has none, its line is bad."""
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
        earlier: dict[int, set[int]] = {}
        for n, entry in enumerate(entries):
            target = entry.target
            below = self.graph.dependencies(target.of or target.name)
            earlier[n] = {values[name] for name in values.keys() & below} - {n}
            by = target.update.names if target.update else (target.name,) if target.of else ()
            for name in by:
                route = {*self.graph.route(name, target.of)}
                on_route = {m for (of, other), m in slopes.items() if of in route and other in route and of != other}
                earlier[n] |= on_route - {n}
        return earlier

    def check(self, entry: Entry, before: Sequence[Entry]) -> Checked:
        target, truth = entry.target, self.truths[entry.target]
        self.budget.left = UNLIMITED
        given = self.number(entry, self.true)
        assert given is not None
        # right is right, whatever the earlier numbers were
        if agrees(given, truth):
            self.take(entry, truth, None)
            return Checked(entry, "right", given.value, truth, reason=self.only_here(entry))
        wrong = [answer for answer in self.done.values() if answer.status == "wrong"]
        # earlier numbers that are merely rounded do not make a later one follow from them
        depends = self.depends_on_wrong(target, truth) if wrong else False
        if depends and self.follows(entry):
            self.take(entry, given.value, None, kept=not self.fits(self.slipped, entry))
            return Checked(entry, "follows", given.value, truth, after=self.origins(before, wrong))
        rounded = self.fits(self.written, entry)
        candidates = self.search(entry, given)
        best = candidates[0] if candidates else None
        self.take(entry, given.value, best, kept=best is None)
        verdict = Checked(
            entry,
            "wrong",
            given.value,
            truth,
            first=not wrong,
            reason=best.words if best else (),
            slip=best.slip.name if best else "",
            # further slips count only if they are nearly as likely
            others=tuple((c.slip.name, c.words) for c in candidates[1:3] if best and c.score < best.score + 1),
        )
        # a given number cannot be worked out wrongly
        if self.solved.equations[target.name].given and not target.of:
            return replace(verdict, reason=copied(given, truth, target, {}), slip="miscopied", others=())
        if rounded:
            reason = ("it is worked out from the rounded numbers above; keep more digits on the way",)
            return replace(verdict, reason=reason, slip="rounded too early", others=())
        if best is None and self.left <= 0:
            return replace(verdict, reason=("too many answers are wrong: no slip was searched for",))
        return verdict

    def chained(self, entry: Entry, verdict: Checked) -> Checked:
        """The verdict on a chain: two neighbours that differ are a mistake, whatever the last number."""
        texts = [link.text for link in entry.links]
        links = [*(replace(entry, number=x.number, formula=x.formula, digits=x.digits) for x in entry.links), entry]
        for n, (one, two) in enumerate(itertools.pairwise(links)):
            holds, value = False, None
            for sheet in (self.written, self.true):
                try:
                    left, right = self.number(one, sheet), self.number(two, sheet)
                except UsageError:
                    continue
                if left is not None and right is not None:
                    value = left.value if value is None else value
                    holds |= agrees(right, left.value) or agrees(left, right.value)
                    # −1.333·0.1874 is −0.2498 to the digits that its factors have
                    apart = abs(Fraction(left.value) - Fraction(right.value))
                    holds |= apart <= self.slack(one, sheet) + self.slack(two, sheet)
            if not holds:
                words: Words = (f"the chain breaks after {texts[n]}",)
                words = words if value is None else (*words, ", which is ", Const(value))
                first = not any(answer.status == "wrong" for answer in self.done.values())
                return replace(
                    verdict, status="wrong", first=first, reason=words, slip="link of a chain", others=(), after=()
                )
        return verdict

    def slack(self, entry: Entry, sheet: Variant) -> Fraction:
        """How far the rounding of its numbers may have moved a formula; of a number half a unit of its last digit."""
        if entry.number is not None:
            return entry.number.unit / 2
        total, middle = Fraction(0), self.number(entry, sheet)
        for const in {part for part in walk(entry.formula) if isinstance(part, Const)}:
            unit = unit_of(const.value)
            if middle is None or not unit:
                continue
            shifted = replace_in(entry.formula, {const: Const(Fraction(const.value) + unit / 2)})
            try:
                moved_to = self.number(replace(entry, formula=shifted), sheet)
            except UsageError:
                continue
            total += abs(Fraction(moved_to.value) - Fraction(middle.value)) if moved_to is not None else 0
        return total

    def origins(self, before: Sequence[Entry], wrong: Sequence[Checked]) -> tuple[int, ...]:
        """The lines of the wrong answers that an answer follows from, directly or through others that follow."""
        earlier = [self.done[entry.target] for entry in before]
        direct = {answer.entry.at[0] for answer in earlier if answer.status == "wrong"}
        through = {line for answer in earlier for line in answer.after}
        return tuple(sorted(direct)) or tuple(sorted(through)) or (wrong[0].entry.at[0],)

    def number(self, entry: Entry, sheet: Variant) -> Number | None:
        """The number given, or the number of the formula given with a variant's numbers."""
        if entry.number is not None:
            return entry.number
        numbers: dict[str, Value] = dict(sheet.values(entry.target.of or entry.target.name))
        try:
            for key, symbol in names(entry.formula).items():
                if isinstance(symbol, Partial):
                    numbers[key] = sheet.answer(Target(symbol.by, symbol.of))
                elif key not in numbers:
                    numbers[key] = sheet.answer(Target(key))
            return Number(evaluate(entry.formula, numbers), Fraction(0), entry.digits, self.tolerance)
        except UsageError:
            if sheet is self.true:
                raise
            return None

    def fits(self, sheet: Variant, entry: Entry) -> bool:
        """Whether an answer is right for a variant of the worksheet."""
        try:
            given = self.number(entry, sheet)
            return given is not None and agrees(given, sheet.answer(entry.target))
        except _NO_NUMBER:
            return False

    def depends_on_wrong(self, target: Target, truth: Value) -> bool:
        """Whether earlier wrong numbers change what is right here."""
        for sheet in (self.slipped, self.low, self.high):
            try:
                if abs(Fraction(sheet.answer(target)) - Fraction(truth)) > abs(Fraction(truth)) / 10**20:
                    return True
            except _NO_NUMBER:
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
            ends = sorted(Fraction(sheet.answer(entry.target)) for sheet in (self.low, self.high))
        except _NO_NUMBER:
            return False
        low, high = (allowed(given, end) for end in ends)
        return ends[0] - low < Fraction(given.value) < ends[1] + high

    def take(self, entry: Entry, value: Value, slip: Candidate | None, kept: bool = False) -> None:
        """Go on with an answer: with the slip that explains it, and with the number as it was written."""
        target = entry.target
        own = entry.number.value if entry.number else value
        half = entry.number.unit / 2 if entry.number else Fraction(0)
        if slip is not None and slip.variant is not None:
            self.slipped = self.low = self.high = slip.variant
        elif slip is not None or kept:
            self.slipped = self.slipped.with_answer(target, own)
            self.low = self.low.with_answer(target, Fraction(own) - half)
            self.high = self.high.with_answer(target, Fraction(own) + half)
        elif value == self.truths[target] and self.slipped is not self.true and not self.fits(self.slipped, entry):
            # right although an earlier answer was wrong: from here on the right number counts
            self.slipped = self.slipped.with_answer(target, value)
            self.low, self.high = self.low.with_answer(target, value), self.high.with_answer(target, value)
        self.written = self.written.with_answer(target, own)

    def search(self, entry: Entry, given: Number) -> list[Candidate]:
        """The slips that lead to a wrong number, as far as the budget goes."""
        if self.left <= 0:
            return []
        # the budget is counted down inside the variants
        self.budget.left = before = min(PER_ANSWER, self.left)
        sheets = [self.slipped] if self.slipped is self.true else [self.slipped, self.true]
        right = {answer.entry.target for answer in self.done.values() if answer.status == "right"}
        try:
            known = {target.name for target in right if not target.of}
            # who makes a mistake once makes it again
            made = {answer.slip for answer in self.done.values() if answer.slip}
            updates = [*self.updates, *(target.update for target in self.truths if target.update)]
            return likely(sheets, entry.target, given, known, made, updates)
        except Exhausted:
            return []
        finally:
            self.left -= before - max(0, self.budget.left)
            self.budget.left = UNLIMITED

    def only_here(self, entry: Entry) -> Words:
        """A remark on a formula that is right with these numbers only: with others it is not."""
        if entry.number is not None or not names(entry.formula) or entry.target.update:
            return ()
        given = [name for name in self.solved.order if self.solved.equations[name].given]
        # every given number changed by another share, so that no coincidence survives
        fixed: dict[str, Value] = {
            name: Fraction(self.solved.values[name]) * (1 + Fraction(n % 7 + 1, 97)) for n, name in enumerate(given)
        }
        elsewhere = Variant(self.solved, fixed=fixed, budget=self.budget)
        try:
            number = self.number(entry, elsewhere)
            if number is None or agrees(Number(number.value, Fraction(0), 0), elsewhere.answer(entry.target)):
                return ()
        except _NO_NUMBER:
            return ()
        return ("right with these numbers; with others this formula is not ", entry.target.symbol)
