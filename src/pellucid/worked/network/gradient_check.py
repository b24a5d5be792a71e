# SPDX-License-Identifier: Apache-2.0
"""The gradient check: every parameter's derivatives against central differences, with a verdict that tells causes apart.

A derivative that disagrees with the difference may be wrong, or the difference may be: it straddles a kink (ReLU, max), its step
is too small for the precision, or too large for the curvature. `pellucid.worked.network.slope_check` tells which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, UsageError
from pellucid.worked.network.activations import Array
from pellucid.worked.network.network import Network
from pellucid.worked.network.slope_check import SlopeCheck, Verdict, check_slope

__all__ = ["Finding", "Function", "GradientReport", "check_gradient", "check_network"]

Function = Callable[[dict[str, Array]], tuple[float, Mapping[str, Array]]]

_GRAVEST: tuple[Verdict, ...] = ("right", "curvature", "rounding", "kink", "bug")
_LINE = "a random direction through all entries"


@dataclass(frozen=True)
class Finding:
    """What the check says of one parameter.

    Args:
        parameter: its name.
        verdict: `right`, `kink`, `rounding`, `curvature` or `bug`; the gravest of its entries.
        error: the largest relative error.
        checked: how many derivatives were compared.
        entries: how many the parameter has.
        sentence: the verdict with its numbers.
    """

    parameter: str
    verdict: Verdict
    error: float
    checked: int
    entries: int
    sentence: str


@dataclass(frozen=True)
class GradientReport:
    """The findings of all parameters; printed, it is a table.

    Args:
        findings: one for each parameter, in their order.
        value: of the function where it was checked.
    """

    findings: tuple[Finding, ...]
    value: float

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all parameters."""
        return max((finding.verdict for finding in self.findings), key=_GRAVEST.index)

    @property
    def bugs(self) -> list[str]:
        """The parameters whose gradient is wrong."""
        return [finding.parameter for finding in self.findings if finding.verdict == "bug"]

    def __str__(self) -> str:
        width = max(9, *(len(finding.parameter) for finding in self.findings))
        rows = [f"{'parameter':{width}}  {'verdict':9}  {'largest relative error':22}  checked"]
        for finding in self.findings:
            count = f"{finding.checked} of {finding.entries}"
            rows.append(f"{finding.parameter:{width}}  {finding.verdict:9}  {finding.error:<22.1e}  {count}")
        told = [f"{finding.parameter}: {finding.sentence}" for finding in self.findings if finding.verdict != "right"]
        return "\n".join([*rows, *told])


def check_gradient(
    function: Function,
    parameters: Mapping[str, Array],
    *,
    step: float | None = None,
    tolerance: float | None = None,
    entries: int | None = 20,
    seed: int = 0,
) -> GradientReport:
    """Compare a function's gradient with central differences, parameter by parameter.

    >>> def energy(p):
    ...     return float((p["w"] ** 2).sum()), {"w": 2 * p["w"]}
    >>> print(check_gradient(energy, {"w": np.array([1.0, -2.0])}).verdict)
    right
    >>> def wrong(p):
    ...     return float((p["w"] ** 2).sum()), {"w": p["w"]}
    >>> print(check_gradient(wrong, {"w": np.array([1.0, -2.0])}).findings[0].sentence)
    bug: at [1] the gradient says -2, the central difference -4 (step ...); every entry is off by the factor 2.

    Args:
        function: takes the parameters by name, returns its value and the gradient by name. It must be deterministic.
        parameters: float arrays by name; they are copied, not changed.
        step: h of the central difference in units of max(1, |w|); by default ∛ε of the parameter's precision.
        tolerance: the relative error that is allowed; by default 1e-6 in float64 and 1e-2 in float32.
        entries: how many of each parameter's derivatives are compared one by one, drawn at random; None for all. If some are
            left out, one derivative in a random direction covers them.
        seed: of the draw.

    Raises:
        UsageError: a step, a tolerance or a number of entries that is not positive.
        DataError: parameters that are not float arrays, or a gradient that lacks one or has another shape.
    """
    for name, number in (("step", step), ("tolerance", tolerance), ("entries", entries)):
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{name}={number}: it must be positive; give a number above 0.")
    if not parameters:
        raise DataError("parameters={}: there is nothing to check; give at least one array by name.")
    here = {name: np.array(value) for name, value in parameters.items()}
    value, returned = function(here)
    gradient = _own_copies(here, returned)
    random = np.random.default_rng(seed)
    return GradientReport(
        tuple(
            _find(
                name,
                _lines(function, here, gradient, name, entries, random),
                here[name],
                gradient[name],
                step,
                tolerance,
            )
            for name in here
            if here[name].size
        ),
        float(value),
    )


def check_network(network: Network, x: Array, target: NDArray[Any], **options: Any) -> GradientReport:
    """The check for a dense network on a batch; the network is left as it was.

    >>> network = Network((3, 4, 2), "tanh")
    >>> print(check_network(network, np.eye(3), np.array([0, 1, 0])).verdict)
    right

    Args:
        network: of `pellucid.worked.network.network`.
        x: a batch, (n, in).
        target: as the network's loss takes it.
        options: step, tolerance, entries and seed of `check_gradient`.
    """
    own = network.parameters
    before = {name: value.copy() for name, value in own.items()}

    def function(parameters: dict[str, Array]) -> tuple[float, Mapping[str, Array]]:
        for name, value in parameters.items():
            own[name][...] = value
        return network.gradient(x, target), network.gradients

    try:
        return check_gradient(function, before, **options)
    finally:
        for name, value in before.items():
            own[name][...] = value


@dataclass(frozen=True)
class _Through:
    """A line through the parameters: one entry, or a direction through all of a parameter's."""

    where: str
    line: Callable[[float], float]
    slope: float
    unit: float


def _own_copies(parameters: Mapping[str, Array], returned: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
    copies = {}
    for name, value in parameters.items():
        if not np.issubdtype(value.dtype, np.floating):
            raise DataError(f"parameters[{name!r}].dtype={value.dtype}: a derivative needs float numbers; convert it.")
        if name not in returned:
            raise DataError(f"gradient={sorted(returned)}: it lacks {name!r}; return a derivative for every parameter.")
        found = np.array(returned[name], dtype=np.float64)
        if found.shape != value.shape:
            raise DataError(
                f"gradient[{name!r}].shape={found.shape}: the parameter has {value.shape}; return the same."
            )
        copies[name] = found
    return copies


def _lines(
    function: Function,
    parameters: dict[str, Array],
    gradient: Mapping[str, NDArray[np.float64]],
    name: str,
    entries: int | None,
    random: np.random.Generator,
) -> list[_Through]:
    array, slopes = parameters[name], gradient[name]

    def along(direction: NDArray[np.float64] | tuple[int, ...]) -> Callable[[float], float]:
        def line(t: float) -> float:
            moved = array.copy()
            if isinstance(direction, tuple):
                moved[direction] += t
            else:
                moved += (t * direction).astype(array.dtype)
            return float(function({**parameters, name: moved})[0])

        return line

    count = array.size if entries is None else min(entries, array.size)
    chosen = np.sort(random.choice(array.size, count, replace=False))
    places = [tuple(int(i) for i in np.unravel_index(flat, array.shape)) for flat in chosen]
    lines = [
        _Through(str([*place]), along(place), float(slopes[place]), max(1.0, abs(float(array[place]))))
        for place in places
    ]
    if count < array.size:
        direction = random.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        unit = max(1.0, float(np.abs(array).max()))
        lines.append(_Through(_LINE, along(direction), float((slopes * direction).sum()), unit))
    return lines


def _find(
    name: str,
    lines: list[_Through],
    array: Array,
    slopes: NDArray[np.float64],
    step: float | None,
    tolerance: float | None,
) -> Finding:
    epsilon = float(np.finfo(array.dtype).eps)
    allowed = tolerance or (1e-6 if epsilon < 1e-12 else 1e-2)
    judged = [
        check_slope(
            each.line,
            each.slope,
            step=None if step is None else step * each.unit,
            unit=each.unit,
            scale=float(np.abs(slopes).max()),
            tolerance=allowed,
            epsilon=epsilon,
        )
        for each in lines
    ]
    through, worst = max(
        zip(lines, judged, strict=True), key=lambda pair: (_GRAVEST.index(pair[1].verdict), pair[1].error)
    )
    checked = sum(each.where != _LINE for each in lines)
    error = max(judgement.error for judgement in judged)
    sentence = _sentence(through, worst, judged, lines)
    return Finding(name, worst.verdict, error, checked, array.size, sentence)


def _sentence(through: _Through, worst: SlopeCheck, judged: list[SlopeCheck], lines: list[_Through]) -> str:
    at = f"along {through.where}" if through.where == _LINE else f"at {through.where}"
    numbers = f"{at} the gradient says {through.slope:.6g}, the central difference {worst.numeric:.6g} (step {worst.step:.1e})"
    if worst.verdict == "bug":
        return f"bug: {numbers}{_pattern(judged, lines)}."
    if worst.verdict == "kink":
        assert worst.kink_at is not None
        return (
            f"kink: {at} the slope jumps {abs(worst.kink_at):.1e} from here, within the step; "
            f"on this side of it the gradient {through.slope:.6g} is right."
        )
    if worst.verdict == "rounding":
        return f"rounding: the step is too small for the precision; take {worst.step:.1e}: {numbers}."
    if worst.verdict == "curvature":
        return f"curvature: the step is too large for how the function bends; take {worst.step:.1e}: {numbers}."
    return f"right: the largest relative error is {worst.error:.1e}."


def _pattern(judged: list[SlopeCheck], lines: list[_Through]) -> str:
    """What all the wrong derivatives have in common, if anything."""
    wrong = [(j, each) for j, each in zip(judged, lines, strict=True) if j.verdict == "bug"]
    if {each.where for _, each in wrong} == {_LINE}:
        return "; the entry at fault was not among those drawn: check all with entries=None"
    if any(each.slope == 0 for _, each in wrong):
        return "; the gradient is 0 where it is not" if all(each.slope == 0 for _, each in wrong) else ""
    ratios = np.array([j.numeric / each.slope for j, each in wrong])
    ratio = float(np.median(ratios))
    whole = "every entry" if len(wrong) == len(judged) else "every wrong entry"
    if len(wrong) < 2 or np.abs(ratios - ratio).max() > 1e-3 * abs(ratio):
        return ""
    return f"; {whole} has the wrong sign" if abs(ratio + 1) < 1e-3 else f"; {whole} is off by the factor {ratio:.4g}"
