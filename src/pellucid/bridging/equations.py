# SPDX-License-Identifier: Apache-2.0
"""From the traced graph of a torch module to the equations of a worksheet, one operation after another."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pellucid.bridging.attending import attention
from pellucid.bridging.losses import tensor_numbers
from pellucid.bridging.normalising import batch_norm_of_the_batch, gelu, layer_norm
from pellucid.bridging.spreading import transposed_convolution
from pellucid.errors import DataError
from pellucid.worked.expressions.expression import Expr, as_expr
from pellucid.worked.notation.operations import (
    clip,
    exp,
    leaky_relu,
    log,
    piecewise,
    relu,
    sigmoid,
    softmax,
    sqrt,
    tanh,
)
from pellucid.worked.worksheet.tensors import define, dot, summed
from pellucid.worked.worksheet.windows import pooled, unfold

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from pellucid.worked.worksheet.tensors import Tensor as Names
    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["EquationWriter"]

# by the name of torch's class or function, one value at a time
_ELEMENTWISE: Final[Mapping[str, Callable[..., Expr]]] = {
    "ReLU": relu,
    "relu": relu,
    "Sigmoid": sigmoid,
    "sigmoid": sigmoid,
    "Tanh": tanh,
    "tanh": tanh,
    "SiLU": lambda u: u * sigmoid(u),
    "silu": lambda u: u * sigmoid(u),
    "Softplus": lambda u: log(1 + exp(u)),
    "ReLU6": lambda u: clip(u, 0, 6),
    "relu6": lambda u: clip(u, 0, 6),
    "exp": exp,
    "neg": operator.neg,
}
_OPERATORS: Final[Mapping[Any, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "iadd": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}


class EquationWriter:
    """Interprets a graph with arrays of names in place of tensors, and writes the equations of each operation.

    Args:
        sheet: receives the equations.
        module: owns the parameters.
        called: the name of each parameter in the worksheet, from `parameter_names`.
    """

    def __init__(self, sheet: Worksheet, module: nn.Module, called: Mapping[str, str]) -> None:
        self.sheet, self.module, self.called = sheet, module, called
        self.defined: dict[str, Names] = {}  # parameters by their path
        self.used = {*called.values(), "L", "x", "t", "p"}

    def run(self, graph: fx.GraphModule, inputs: Tensor) -> Names:
        """Write all equations; returns the names of the module's outputs.

        Raises:
            DataError: an operation that cannot be written as equations.
        """
        from torch.fx.node import map_arg

        values: dict[str, Any] = {}
        for node in graph.graph.nodes:
            args, options = map_arg((node.args, node.kwargs), lambda argument: values[argument.name])
            match node.op:
                case "placeholder":
                    values[node.name] = self.quantities("x", tensor_numbers(inputs))
                case "get_attr":
                    values[node.name] = self.parameter(str(node.target), graph)
                case "call_module":
                    inner = self.module.get_submodule(str(node.target))
                    _check_in_place(node, str(node.target), getattr(inner, "inplace", False))
                    values[node.name] = (
                        attention(self, inner, str(node.target), node.name, args, options)
                        if type(inner).__name__ == "MultiheadAttention"
                        else self.layer(inner, str(node.target), node.name, args[0])
                    )
                case "output":
                    if not isinstance(args[0], np.ndarray):
                        raise DataError("module: returns several outputs; make it return one tensor.")
                    return args[0]
                case _:
                    called = node.target if isinstance(node.target, str) else node.target.__name__
                    _check_in_place(node, called, options.get("inplace", False))
                    if not args and "input" in options:  # torch.relu(input=x)
                        args, options = (options["input"],), {k: v for k, v in options.items() if k != "input"}
                    if not args:
                        raise DataError(f"module: {called} without an input has no worksheet; leave it out.")
                    values[node.name] = self.function(called, node.name, args, options)
        raise DataError("module: returns nothing; return its output.")

    def parameter(self, path: str, root: nn.Module | None = None) -> Names:
        """The names of a parameter's components; a shared parameter is defined once."""
        owner, _, key = path.rpartition(".")
        tensor = getattr((root or self.module).get_submodule(owner), key)
        for name, other in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if other is tensor:  # the first path of a shared tensor
                path = name
        if path not in self.defined:
            name = self.called.get(path) or self.fresh("c", path)  # a constant tensor
            self.defined[path] = define(self.sheet, name, tensor_numbers(tensor))
        return self.defined[path]

    def fresh(self, letter: str, node: str) -> str:
        """An unused name, made of a letter and the name of a node."""
        where = node.replace("_", "").replace(".", "")
        name = f"{letter}{where}" if where[:1].isdigit() else f"{letter}_{where}"
        while name in self.used:
            name += "x"
        self.used.add(name)
        return name

    def quantities(self, name: str, values: Names) -> Names:
        """Equations of a batch, (N, …); with a single sample the names have no index for it."""
        return define(self.sheet, name, values[0] if len(values) == 1 and values.ndim > 1 else values).reshape(
            values.shape
        )

    def named(self, letter: str, node: str, values: Names) -> Names:
        """Equations under an unused name."""
        return self.quantities(self.fresh(letter, node), values)

    def layer(self, inner: nn.Module, path: str, node: str, x: Names) -> Names:
        """The equations of a layer."""
        kind = type(inner).__name__
        if kind in _ELEMENTWISE:
            if kind == "Softplus" and (getattr(inner, "beta", 1), getattr(inner, "threshold", 20)) != (1, 20):
                raise DataError(f"module.{path}: Softplus must have beta=1 and threshold=20 in a worksheet; use these.")
            return self.named("a", node, _each(_ELEMENTWISE[kind], x))
        layer: Any = inner
        match kind:
            case "Identity" | "Dropout" | "Dropout1d" | "Dropout2d":  # in eval mode, see `from_torch`
                return x
            case "Flatten":
                return _flat(x, layer.start_dim, layer.end_dim)
            case "Linear":
                return self.named("z", node, self._linear(inner, path, x))
            case "Conv1d" | "Conv2d":
                return self.named("z", node, self._convolution(inner, path, x))
            case "MaxPool1d" | "MaxPool2d" | "AvgPool1d" | "AvgPool2d":
                return self.named("z", node, _pooling(inner, path, x))
            case "ConvTranspose1d" | "ConvTranspose2d":
                return self.named("z", node, transposed_convolution(self, inner, path, x))
            case "BatchNorm1d" | "BatchNorm2d" if inner.training or layer.running_mean is None:
                return self.named("z", node, batch_norm_of_the_batch(self, inner, path, node, x))
            case "BatchNorm1d" | "BatchNorm2d":
                return self.named("z", node, self._batch_norm(inner, path, x))
            case "LayerNorm":
                return self.named("z", node, layer_norm(self, inner, path, node, x))
            case "GELU":
                return self.named("a", node, _each(lambda u: gelu(u, layer.approximate), x))
            case "LeakyReLU":
                return self.named("a", node, _each(lambda u: leaky_relu(u, _decimal(layer.negative_slope)), x))
            case "ELU":
                alpha = as_expr(_decimal(layer.alpha))
                return self.named("a", node, _each(lambda u: piecewise((u, u > 0), otherwise=alpha * (exp(u) - 1)), x))
            case "Softmax":
                return self.named("p", node, _softmax(x, layer.dim))
        raise DataError(f"module.{path or kind}: {kind} has no worksheet; use the layers listed in `from_torch`.")

    def function(self, called: str, node: str, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The equations of a function or tensor method; for one that asks for a shape, the shape."""
        x = args[0]

        def option(place: int, key: str, default: Any) -> Any:
            return args[place] if len(args) > place else options.get(key, default)

        if called in _ELEMENTWISE and isinstance(x, np.ndarray):
            return self.named("a", node, _each(_ELEMENTWISE[called], x))
        if called in _OPERATORS and len(args) == 2 and any(isinstance(arg, np.ndarray) for arg in args):
            if options:  # torch.add(x, y, alpha=2) is x + 2·y
                raise DataError(f"module: {called} with {', '.join(options)} has no worksheet; write it with + and *.")
            # NumPy broadcasts arrays of expressions as torch broadcasts tensors
            one, two = (arg if isinstance(arg, np.ndarray) else np.array(as_expr(arg), dtype=object) for arg in args)
            return self.named("z", node, np.array(_OPERATORS[called](one, two), dtype=object))
        match called:
            case "gelu":
                kind = options.get("approximate", "none")
                return self.named("a", node, _each(lambda u: gelu(u, kind), x))
            case "leaky_relu":
                slope = _decimal(option(1, "negative_slope", 0.01))
                return self.named("a", node, _each(lambda u: leaky_relu(u, slope), x))
            case "softmax":
                return self.named("p", node, _softmax(x, option(1, "dim", None)))
            case "flatten":
                return _flat(x, option(1, "start_dim", 0), option(2, "end_dim", -1))
            case "view" | "reshape":
                shape = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
                return x.reshape(tuple(shape))
            case "size":
                return x.shape if len(args) == 1 else x.shape[args[1]]
            case "getattr" if args[1] == "shape":
                return x.shape
            case "getitem":
                return x[args[1]]
            case "dropout" if not option(2, "training", True):
                return x
        raise DataError(f"module: the function {called} has no worksheet; use the layers listed in `from_torch`.")

    def _linear(self, inner: Any, path: str, x: Names) -> Names:
        W = self.parameter(f"{path}.weight" if path else "weight")  # (out, in)
        b = self.parameter(f"{path}.bias" if path else "bias") if inner.bias is not None else None
        rows = x.reshape(-1, x.shape[-1])  # (samples, in)
        outputs = [[_plus(dot(list(w), list(row)), b, n) for n, w in enumerate(W)] for row in rows]
        made: Names = np.array(outputs, dtype=object)
        return made.reshape(*x.shape[:-1], len(W))

    def _convolution(self, inner: Any, path: str, x: Names) -> Names:
        size = len(inner.kernel_size)
        padding = inner.padding
        if padding == "valid":
            padding = (0,) * size
        elif padding == "same":
            spans = [d * (f - 1) for d, f in zip(inner.dilation, inner.kernel_size, strict=True)]
            if any(span % 2 for span in spans):
                raise DataError(f"module.{path}: pads one side more than the other; use an odd kernel.")
            padding = tuple(span // 2 for span in spans)
        if inner.padding_mode != "zeros":
            raise DataError(f"module.{path}: pads with {inner.padding_mode}, a worksheet with zeros only; use zeros.")
        W = self.parameter(f"{path}.weight" if path else "weight")  # (O, C/groups, K…)
        b = self.parameter(f"{path}.bias" if path else "bias") if inner.bias is not None else None
        samples = []
        for sample in x:  # (C, …)
            windows = unfold(sample, inner.kernel_size, inner.stride, padding, inner.dilation)  # (positions…, C, K…)
            out, per = windows.shape[:size], W.shape[1]
            outputs = np.empty((len(W), *out), dtype=object)
            for o, *where in np.ndindex(*outputs.shape):
                first = o // (len(W) // inner.groups) * per  # the first channel of this filter's group
                window = windows[tuple(where)][first : first + per]
                kept = [(w, value) for w, value in zip(W[o].flat, window.flat, strict=True) if value is not None]
                outputs[(o, *where)] = _plus(dot([w for w, _ in kept], [value for _, value in kept]), b, o)
            samples.append(outputs)
        return np.array(samples, dtype=object)  # (N, O, positions…)

    def _batch_norm(self, inner: Any, path: str, x: Names) -> Names:
        prefix = f"{path}." if path else ""
        mean, variance = self.parameter(f"{prefix}running_mean"), self.parameter(f"{prefix}running_var")
        scale = (self.parameter(f"{prefix}weight"), self.parameter(f"{prefix}bias")) if inner.affine else None
        outputs = np.empty(x.shape, dtype=object)
        for where in np.ndindex(x.shape):
            c = where[1]
            # eval mode: γ·(x − μ)/√(v + ε) + β with the running averages (Ioffe and Szegedy 2015, algorithm 2)
            value = (x[where] - mean[c]) / sqrt(variance[c] + _decimal(inner.eps))
            outputs[where] = value if scale is None else scale[0][c] * value + scale[1][c]
        return outputs


def _check_in_place(node: fx.Node, called: str, in_place: bool) -> None:
    """Refuse a change of a tensor that is used again: an equation gives its name one value.

    Raises:
        DataError: such a change.
    """
    if in_place and any(len(given.users) > 1 for given in node.all_input_nodes):
        raise DataError(f"module.{called}: changes in place what is used again; set inplace=False.")


def _each(how: Callable[..., Expr], x: Names) -> Names:
    outputs = np.empty(x.shape, dtype=object)
    for where in np.ndindex(x.shape):
        outputs[where] = how(x[where])
    return outputs


def _plus(total: Expr, b: Names | None, place: int) -> Expr:
    return total if b is None else summed([b[place]]) if total == as_expr(0) else total + b[place]


def _decimal(number: Any) -> Fraction:
    """The decimal that Python prints: an eps of 1e-5 is exactly 1/100000."""
    return Fraction(str(number))


def _flat(x: Names, start: int, end: int) -> Names:
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def _softmax(x: Names, dim: int | None) -> Names:
    if dim is None:
        raise DataError("module: a softmax without dim leaves torch to guess it; set dim=1.")
    moved = np.moveaxis(x, dim, -1)
    outputs = np.empty(moved.shape, dtype=object)
    for where in np.ndindex(*moved.shape[:-1]):
        outputs[where] = list(softmax(*moved[where]))
    return np.moveaxis(outputs, -1, dim)


def _pooling(inner: Any, path: str, x: Names) -> Names:
    """The equations of a pooling, (N, C, …) -> (N, C, positions…)."""
    size = x.ndim - 2

    def per_axis(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * size

    average = type(inner).__name__.startswith("Avg")
    if inner.ceil_mode or getattr(inner, "return_indices", False) or getattr(inner, "divisor_override", None):
        raise DataError(
            f"module.{path}: ceil_mode, return_indices and divisor_override have no worksheet; leave them out."
        )
    f, s, p = per_axis(inner.kernel_size), per_axis(inner.stride), per_axis(inner.padding)
    d = (1,) * size if average else per_axis(inner.dilation)
    samples = []
    for sample in x:
        windows = unfold(sample, f, s, p, d)
        if average and not inner.count_include_pad:
            # the mean over the values inside the image: the sum divided by their number
            inside = np.array([value is not None for value in windows.flat]).reshape(windows.shape)
            counts: Any = inside.sum(axis=tuple(range(size + 1, windows.ndim)))  # (positions…, C)
            sums = pooled(windows, "average") * as_expr(math.prod(f))
            samples.append(sums / np.moveaxis(counts, -1, 0).astype(object))
        else:
            samples.append(pooled(windows, "average" if average else "max"))
    return np.array(samples, dtype=object)
