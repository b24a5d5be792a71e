# SPDX-License-Identifier: Apache-2.0
"""The table of slips: each is one function, which makes a mistake that learners often make.

    value       `slips_values`       an equation with a mistake at one node
    derivative  `slips_derivatives`  a wrong rule of differentiation at one node
    chain       `slips_graph`        missing paths and links of the chain rule
    order       `slips_order`        a parameter used after its update
    update      `slips_graph`        a wrong rule of an optimiser
    rounding    `slips_graph`        numbers rounded on the way
    number      `slips_numbers`      the number itself: sign, digits, decimal point

`pellucid.worked.answers.slip_search` makes each slip wherever it can be made, and keeps those that lead to the number given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from pellucid.worked.answers import slips_derivatives, slips_graph, slips_numbers, slips_order, slips_values

__all__ = ["SLIPS", "Slip"]


@final
@dataclass(frozen=True, slots=True)
class Slip:
    """A named slip.

    >>> SLIPS[0].name, SLIPS[0].word
    ('bias left out', 'bias_left_out')

    Args:
        name: in words.
        kind: value, derivative, chain, order, update, rounding or number.
        rank: from 1, a common mistake, to 4, the explanation when nothing else fits.
        function: makes it.
    """

    name: str
    kind: str
    rank: float
    function: Callable[..., Any]

    @property
    def word(self) -> str:
        """The function's name."""
        return self.function.__name__


_V, _D, _G, _N = slips_values, slips_derivatives, slips_graph, slips_numbers

SLIPS: Final[tuple[Slip, ...]] = (
    Slip("bias left out", "value", 1, _V.bias_left_out),
    Slip("activation left out", "value", 1, _V.activation_left_out),
    Slip("variance for standard deviation", "value", 1, _V.variance_for_deviation),
    Slip("square left out", "value", 1, _V.square_left_out),
    Slip("distance for its square", "value", 2, _V.distance_for_its_square),
    Slip("sign of a term", "value", 1, _V.sign_of_a_term),
    Slip("factor left out", "value", 1, _V.factor_left_out),
    Slip("term left out", "value", 2, _V.term_left_out),
    Slip("another branch", "value", 1, _V.another_branch),
    Slip("another activation", "value", 2, _V.another_activation),
    Slip("square of each term", "value", 2, _V.square_of_each),
    Slip("softmax not normalised", "value", 1, _V.softmax_not_normalised),
    Slip("brackets ignored", "value", 2, _V.brackets_ignored),
    Slip("index off by one", "value", 2, _V.index_off_by_one),
    Slip("matrix transposed", "value", 1, _V.transposed),
    Slip("another logarithm", "value", 2, _V.other_logarithm),
    Slip("division by n − 1", "value", 2, _V.sample_variance),
    Slip("missing factor of the power", "derivative", 1, _D.factor_of_the_power),
    Slip("derivative of the function left out", "derivative", 1, _D.derivative_of_the_function),
    Slip("only the diagonal of the softmax Jacobian", "derivative", 1, _D.softmax_diagonal),
    Slip("sign off the softmax diagonal", "derivative", 1, _D.softmax_off_diagonal),
    Slip("inner derivative left out", "derivative", 1, _D.inner_derivative),
    Slip("sign of the inner derivative", "derivative", 1.5, _D.minus_inside),
    Slip("derivative at the wrong place", "derivative", 1, _D.place_of_the_derivative),
    Slip("function applied twice", "derivative", 2, _D.function_twice),
    Slip("half of the derivative's formula", "derivative", 2, _D.half_of_the_derivative),
    Slip("missing ½ of the root", "derivative", 2, _D.root_without_half),
    Slip("the other factor", "derivative", 2, _D.the_other_factor),
    Slip("half of the product rule", "derivative", 2, _D.half_of_the_product_rule),
    Slip("minus of the quotient rule", "derivative", 1.5, _D.quotient_rule),
    Slip("divisor not squared", "derivative", 2, _D.square_below),
    Slip("exponent not lowered", "derivative", 2, _D.kept_exponent),
    Slip("constant kept", "derivative", 2, _D.constant_kept),
    Slip("path left out", "chain", 1, _G.path_left_out),
    Slip("link of the chain left out", "chain", 2, _G.link_left_out),
    Slip("target left out of the gradient", "chain", 1, slips_order.target_left_out),
    Slip("parameter used after its update", "order", 1, slips_order.used_after_its_update),
    Slip("update added", "update", 1, _G.update_added),
    Slip("learning rate left out", "update", 1, _G.rate_left_out),
    Slip("step for the new number", "update", 1, _G.step_for_the_number),
    Slip("variance for standard deviation in the update", "update", 1, _G.root_left_out),
    Slip("rule of the update", "update", 2, _G.another_rule),
    Slip("rounded too early", "rounding", 1.5, _G.rounded_on_the_way),
    Slip("too few digits", "number", 1.4, _N.too_few_digits),
    Slip("sign", "number", 1, _N.sign_turned),
    Slip("factor 2", "number", 2, _N.factor_two),
    Slip("decimal point", "number", 2, _N.point_moved),
    Slip("digits exchanged", "number", 2, _N.digits_exchanged),
    Slip("another quantity's number", "number", 3, _N.another_number),
    Slip("nearly", "number", 4, _N.nearly),
)
"""Every slip that is tried. To add one, write its function in its module and add a line here."""
