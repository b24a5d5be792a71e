# SPDX-License-Identifier: Apache-2.0
"""The table of slips: each is one function, which says what a learner may have done in the place of the right thing.

    value     `slips_values`   an equation written otherwise, node by node
    slope     `slips_slopes`   a rule of differentiation put to use wrongly, node by node
    chain     `slips_graph`    paths and links of the chain rule
    update    `slips_graph`    the rule of an optimiser
    rounding  `slips_graph`    numbers rounded on the way
    number    `slips_numbers`  the number itself: sign, digits, decimal point

`pellucid.worked.answers.slip_search` makes each wherever it can be made and keeps those that come to the number given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from pellucid.worked.answers import slips_graph, slips_numbers, slips_slopes, slips_values

__all__ = ["SLIPS", "Slip"]


@final
@dataclass(frozen=True, slots=True)
class Slip:
    """A named slip.

    >>> SLIPS[0].name, SLIPS[0].word
    ('bias left out', 'bias_left_out')

    Args:
        name: in words.
        kind: value, slope, chain, update, rounding or number.
        rank: from 1, what happens often, to 4, what is said when nothing else fits.
        function: that makes it.
    """

    name: str
    kind: str
    rank: float
    function: Callable[..., Any]

    @property
    def word(self) -> str:
        """The function's name."""
        return self.function.__name__


_V, _S, _G, _N = slips_values, slips_slopes, slips_graph, slips_numbers

SLIPS: Final[tuple[Slip, ...]] = (
    Slip("bias left out", "value", 1, _V.bias_left_out),
    Slip("activation left out", "value", 1, _V.activation_left_out),
    Slip("variance for standard deviation", "value", 1, _V.variance_for_deviation),
    Slip("square left out", "value", 1, _V.square_left_out),
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
    Slip("missing factor of the power", "slope", 1, _S.factor_of_the_power),
    Slip("derivative of the function left out", "slope", 1, _S.derivative_of_the_function),
    Slip("only the diagonal of the softmax Jacobian", "slope", 1, _S.softmax_diagonal),
    Slip("sign off the softmax diagonal", "slope", 1, _S.softmax_off_diagonal),
    Slip("inner derivative left out", "slope", 1, _S.inner_derivative),
    Slip("sign of the inner derivative", "slope", 1.5, _S.minus_inside),
    Slip("derivative at the wrong place", "slope", 1, _S.place_of_the_derivative),
    Slip("function applied twice", "slope", 2, _S.function_twice),
    Slip("half of the derivative's formula", "slope", 2, _S.half_of_the_derivative),
    Slip("missing ½ of the root", "slope", 2, _S.root_without_half),
    Slip("the other factor", "slope", 2, _S.the_other_factor),
    Slip("half of the product rule", "slope", 2, _S.half_of_the_product_rule),
    Slip("minus of the quotient rule", "slope", 1.5, _S.quotient_rule),
    Slip("divisor not squared", "slope", 2, _S.square_below),
    Slip("exponent not lowered", "slope", 2, _S.kept_exponent),
    Slip("constant kept", "slope", 2, _S.constant_kept),
    Slip("path left out", "chain", 1, _G.path_left_out),
    Slip("link of the chain left out", "chain", 2, _G.link_left_out),
    Slip("update added", "update", 1, _G.update_added),
    Slip("learning rate left out", "update", 1, _G.rate_left_out),
    Slip("step for the new number", "update", 1, _G.step_for_the_number),
    Slip("variance for standard deviation in the update", "update", 1, _G.root_left_out),
    Slip("rule of the update", "update", 2, _G.another_rule),
    Slip("rounded too early", "rounding", 1, _G.rounded_on_the_way),
    Slip("too few digits", "number", 0.9, _N.too_few_digits),
    Slip("sign", "number", 1, _N.sign_turned),
    Slip("factor 2", "number", 2, _N.factor_two),
    Slip("decimal point", "number", 2, _N.point_moved),
    Slip("digits exchanged", "number", 2, _N.digits_exchanged),
    Slip("another quantity's number", "number", 3, _N.another_number),
    Slip("nearly", "number", 4, _N.nearly),
)
"""Every slip that is tried. To add one, write its function in its module and a line here."""
