# SPDX-License-Identifier: Apache-2.0
"""The gradient check: the derivatives of every parameter against central differences, with the cause of any mismatch.

If a derivative and its central difference disagree, either may be wrong: the difference straddles a kink (ReLU, max), its step is too
small for the precision or too large for the curvature. `pellucid.worked.network.slope_check` finds out.
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

_SEVERITY: tuple[Verdict, ...] = ("right", "curvature", "rounding", "kink", "bug")  # increasing
_LINE = "a random direction through all entries"


@dataclass(frozen=True)
class Finding:
    """The result for one parameter.

    Args:
        parameter: its name.
        verdict: `right`, `kink`, `rounding`, `curvature` or `bug`; the most severe of its entries.
        error: the largest relative error.
        checked: the number of entries compared.
        entries: the number of entries that the parameter has.
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
    """The findings for all parameters; printed, it is a table.

    Args:
        findings: one for each parameter, in order.
        value: of the function at the point of the check.
    """

    findings: tuple[Finding, ...]
    value: float

    @property
    def verdict(self) -> Verdict:
        """The most severe verdict of all parameters."""
        return max((finding.verdict for finding in self.findings), key=_SEVERITY.index)

    @property
    def bugs(self) -> list[str]:
        """The parameters with a wrong gradient."""
        return [finding.parameter for finding in self.findings if finding.verdict == "bug"]

    def __str__(self) -> str:
        width = max(9, *(len(finding.parameter) for finding in self.findings))
        rows = [f"{'parameter':{width}}  {'verdict':9}  {'largest relative error':22}  checked"]
        for finding in self.findings:
            count = f"{finding.checked} of {finding.entries}"
            rows.append(f"{finding.parameter:{width}}  {finding.verdict:9}  {finding.error:<22.1e}  {count}")
        sentences = [f"{found.parameter}: {found.sentence}" for found in self.findings if found.verdict != "right"]
        return "\n".join([*rows, *sentences])


def check_gradient(
    function: Function,
    parameters: Mapping[str, Array],
    *,
    step: float | None = None,
    tolerance: float | None = None,
    entries: int | None = 20,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradient of a function with central differences, parameter by parameter.

    >>> def energy(p):
    ...     return float((p["w"] ** 2).sum()), {"w": 2 * p["w"]}
    >>> print(check_gradient(energy, {"w": np.array([1.0, -2.0])}).verdict)
    right
    >>> def wrong(p):
    ...     return float((p["w"] ** 2).sum()), {"w": p["w"]}
    >>> print(check_gradient(wrong, {"w": np.array([1.0, -2.0])}).findings[0].sentence)
    bug: at [1] the gradient is -2, the central difference -4 (step ...); every entry is off by the factor 2.

    Args:
        function: (parameters by name) ↦ (its value, the gradient by name). It must be deterministic.
        parameters: float arrays by name; they are copied, not changed.
        step: h of the central difference, relative to max(1, |w|); by default ∛ε of the parameter's precision.
        tolerance: the relative error allowed; by default 1e-6 in float64 and 1e-2 in float32.
        entries: how many entries of each parameter are compared, drawn at random; None for all. If some are left out, the
            derivative in one random direction covers them together.
        seed: of the random choices.

    Raises:
        UsageError: a step, a tolerance or a number of entries that is not positive.
        DataError: parameters that are not float arrays, or a gradient that lacks one or has another shape.
    """
    for name, number in (("step", step), ("tolerance", tolerance), ("entries", entries)):
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{name}={number}: must be positive; give a number above 0.")
    if not parameters:
        raise DataError("parameters={}: there is nothing to check; give at least one array by name.")
    here = {name: np.array(value) for name, value in parameters.items()}  # copies
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
    """Check the gradient of a dense network on a batch; the network is left unchanged.

    >>> network = Network((3, 4, 2), "tanh")
    >>> print(check_network(network, np.eye(3), np.array([0, 1, 0])).verdict)
    right

    Args:
        network: from `pellucid.worked.network.network`.
        x: a batch, (n, in).
        target: as the network's loss needs it.
        options: step, tolerance, entries and seed of `check_gradient`.
    """
    own = network.parameters
    before = {name: value.copy() for name, value in own.items()}  # to restore afterwards

    def function(parameters: dict[str, Array]) -> tuple[float, Mapping[str, Array]]:
        for name, value in parameters.items():
            own[name][...] = value
        return network.gradient(x, target), network.gradients

    # the check moves the parameters through the network's own arrays
    try:
        return check_gradient(function, before, **options)
    finally:
        for name, value in before.items():
            own[name][...] = value


@dataclass(frozen=True)
class _Through:
    """A line through the point of the check: along one entry of a parameter, or in a direction through all of them."""

    where: str
    line: Callable[[float], float]
    slope: float  # the derivative along the line, from the gradient
    unit: float  # the size of the parameter along the line


def _own_copies(parameters: Mapping[str, Array], returned: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
    copies = {}
    for name, value in parameters.items():
        # an integer cannot be moved by a small step
        if not np.issubdtype(value.dtype, np.floating):
            raise DataError(f"parameters[{name!r}].dtype={value.dtype}: a derivative needs floats; convert it.")
        if name not in returned:
            raise DataError(f"gradient={sorted(returned)}: lacks {name!r}; return a derivative for every parameter.")
        # a copy, since the function may reuse its arrays in the next call
        slopes = np.array(returned[name], dtype=np.float64)
        if slopes.shape != value.shape:
            raise DataError(
                f"gradient[{name!r}].shape={slopes.shape}: the parameter's is {value.shape}; return the same shape."
            )
        copies[name] = slopes
    return copies


def _lines(
    function: Function,
    parameters: dict[str, Array],
    gradient: Mapping[str, NDArray[np.float64]],
    name: str,
    entries: int | None,
    random: np.random.Generator,
) -> list[_Through]:
    """Lines along some entries of a parameter, and one in a random direction if that leaves any out."""
    array, slopes = parameters[name], gradient[name]

    def along(direction: NDArray[np.float64] | tuple[int, ...]) -> Callable[[float], float]:
        def line(t: float) -> float:
            moved = array.copy()
            if isinstance(direction, tuple):  # the indices of one entry
                moved[direction] += t
            else:
                moved += (t * direction).astype(array.dtype)
            return float(function({**parameters, name: moved})[0])

        return line

    count = array.size if entries is None else min(entries, array.size)
    # two evaluations of the function for each entry: a large layer is checked by a sample
    chosen = np.sort(random.choice(array.size, count, replace=False))
    places = [tuple(int(i) for i in np.unravel_index(flat, array.shape)) for flat in chosen]
    lines = [
        _Through(str([*place]), along(place), float(slopes[place]), max(1.0, abs(float(array[place]))))
        for place in places
    ]
    if count < array.size:
        # a wrong entry changes the derivative in almost every direction
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
    # the balanced step leaves an error of about ε^(2/3): 4e-11 in float64, 2e-5 in float32
    allowed = tolerance or (1e-6 if epsilon < 1e-12 else 1e-2)
    checks = [
        check_slope(
            line.line,
            line.slope,
            step=None if step is None else step * line.unit,
            unit=line.unit,
            scale=float(np.abs(slopes).max()),
            tolerance=allowed,
            epsilon=epsilon,
        )
        for line in lines
    ]
    # the most severe verdict, and among equal ones the largest error, speaks for the parameter
    line, worst = max(
        zip(lines, checks, strict=True), key=lambda pair: (_SEVERITY.index(pair[1].verdict), pair[1].error)
    )
    checked = sum(line.where != _LINE for line in lines)
    error = max(check.error for check in checks)
    return Finding(name, worst.verdict, error, checked, array.size, _sentence(line, worst, checks, lines))


def _sentence(line: _Through, worst: SlopeCheck, checks: list[SlopeCheck], lines: list[_Through]) -> str:
    """The verdict on a parameter with the numbers of its worst line."""
    at = f"along {line.where}" if line.where == _LINE else f"at {line.where}"
    numbers = (
        f"{at} the gradient is {line.slope:.6g}, the central difference {worst.numeric:.6g} (step {worst.step:.1e})"
    )
    if worst.verdict == "bug":
        return f"bug: {numbers}{_pattern(checks, lines)}."
    if worst.verdict == "kink":
        assert worst.kink_at is not None
        return (
            f"kink: {at} the slope jumps at a distance of {abs(worst.kink_at):.1e}, within the step; "
            f"on this side of the kink the gradient {line.slope:.6g} is right."
        )
    if worst.verdict == "rounding":
        return f"rounding: the step is too small for the precision; use {worst.step:.1e}: {numbers}."
    if worst.verdict == "curvature":
        return f"curvature: the step is too large for the curvature of the function; use {worst.step:.1e}: {numbers}."
    return f"right: the largest relative error is {worst.error:.1e}."


def _pattern(checks: list[SlopeCheck], lines: list[_Through]) -> str:
    """What all wrong derivatives have in common, if anything: a zero, a sign, a factor."""
    wrong = [(check, line) for check, line in zip(checks, lines, strict=True) if check.verdict == "bug"]
    if {line.where for _, line in wrong} == {_LINE}:
        return "; the wrong entry was not among those drawn: check all with entries=None"
    if any(line.slope == 0 for _, line in wrong):
        return "; the gradient is 0 and should not be" if all(line.slope == 0 for _, line in wrong) else ""
    # one common ratio of difference and gradient points to the cause, such as a missing factor 2
    ratios = np.array([check.numeric / line.slope for check, line in wrong])
    ratio = float(np.median(ratios))
    whole = "every entry" if len(wrong) == len(checks) else "every wrong entry"
    if len(wrong) < 2 or np.abs(ratios - ratio).max() > 1e-3 * abs(ratio):
        return ""
    return f"; {whole} has the wrong sign" if abs(ratio + 1) < 1e-3 else f"; {whole} is off by the factor {ratio:.4g}"
