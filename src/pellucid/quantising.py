# SPDX-License-Identifier: Apache-2.0
"""An exported network in whole numbers of 8 bits, and what that costs: measured beside the full one on the test images.

Static quantisation (Jacob et al. 2018): each weight and each activation is a whole number times a scale. The scales of the weights
are those of their output channels; those of the activations come from training images that go through the network.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.answering import run_batches
from pellucid.data.draws import Draws
from pellucid.errors import PellucidWarning, UsageError, brief
from pellucid.files import write_atomically
from pellucid.inference import measure
from pellucid.run import Run
from pellucid.tasks import Exports, Measure, Records, differences, summarise

__all__ = ["Quantised", "check_task", "quantise", "session"]

_IMAGES = 128  # training images that the scales of activations come from
_BATCH = 32
_SECONDS, _ROUNDS = 0.5, 5  # of timing each file, in turn
_RESAMPLES = 4000
_LEAST = 1e-30  # of a probability before its logarithm
# what has an exact counterpart in whole numbers; softmax, sigmoid and normalisation stay as they are
_KINDS = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
)


@final
@dataclass(frozen=True)
class Quantised:
    """A quantised file beside the full one."""

    file: Path
    measure: str  # the title of the deciding measure
    full: Measure
    int8: Measure
    difference: tuple[float, float, float]  # int8 − full, and its 95 % interval over the same images
    images: int  # test images
    calibration: int  # training images
    bytes: tuple[int, int]  # of the full and the quantised file
    speed: tuple[float, float]  # images a second of the two

    @property
    def loses(self) -> bool:
        """Whether it is worse by more than chance explains."""
        _, low, high = self.difference
        return low > 0 if self.full.better == "lower" else high < 0

    @property
    def words(self) -> str:
        """What a person should know of it."""
        value, low, high = self.difference
        size, speed = self.bytes[1] / self.bytes[0], self.speed[1] / self.speed[0]
        return (
            f"{self.measure} {self.int8}, full {self.full}, difference {value:+.4f} ({low:+.4f} to {high:+.4f}) on {self.images:,} "
            f"test images; {self.bytes[1]:,} bytes, {size:.2f} × the full file; {self.speed[1]:,.0f} images a second, {speed:.2f} × "
            "(ONNX Runtime, one thread)"
        )

    def facts(self) -> str:
        """For the file's metadata, as JSON."""
        return json.dumps({**asdict(self), "file": self.file.name})

    @classmethod
    def of(cls, facts: str) -> Self:
        """From a file's metadata."""
        found = json.loads(facts)
        pairs = {name: tuple(found[name]) for name in ("difference", "bytes", "speed")}
        measures = {name: Measure(**found[name]) for name in ("full", "int8")}
        return cls(**{**found, **pairs, **measures, "file": Path(found["file"])})


def quantise(run: Run, model: nn.Module, full: Path, out: Path) -> Quantised:
    """Write the quantised file of a full ONNX file, and measure both.

    Weights have 7 bits, since processors without instructions for them add products of 8 bits up to more than 16 hold; so the
    file answers alike everywhere.

    Args:
        run: whose model it is.
        model: in eval mode, on the CPU.
        full: the file that `export` wrote.
        out: the new file.

    Raises:
        UsageError: the task does not use the network as it is in the file, or there are no images to measure it on.
    """
    check_task(run)
    name = run.info["task"]["name"]
    dataset, task = run.read()
    train, test = dataset.splits["train"], dataset.splits["test"]
    if not len(train) or not len(test):
        raise UsageError(f"int8=True: {dataset.name!r} lacks training or test images, which it needs; leave it out.")
    seed, fingerprint, device = int(run.info["seed"]), dataset.fingerprint, torch.device("cpu")
    places = np.unique(np.linspace(0, len(train) - 1, min(_IMAGES, len(train))).astype(np.int64))
    seen: list[NDArray[np.float32]] = []
    watched = _replaced(model, lambda images: _noted(model, images, seen))
    for batch in run_batches(run, train.select(places), _BATCH, device):
        input, _ = task.prepare(batch, Draws.images(seed, batch.index, device), training=False)
        with torch.no_grad():
            task.predict(watched, input)
    if not seen:
        raise UsageError(f"int8=True: {name} does not answer with the network as it is in the file; leave it out.")
    with write_atomically(out) as draft:
        _write(full, draft, seen)
        records: list[Records] = []
        for file in (full, draft):
            asked = _replaced(model, _by(session(file)))
            batches = run_batches(run, test, _BATCH, device, fingerprint=f"{fingerprint}-test")
            with warnings.catch_warnings():  # that outputs are logarithms of probabilities is our own doing
                warnings.simplefilter("ignore")
                try:
                    records.append(measure(task, asked, batches, seed=seed)[0])
                except Exception as fault:  # of ONNX Runtime, which has classes of its own
                    if not type(fault).__module__.startswith("onnxruntime"):
                        raise
                    why = f"{full.name} does not take all test images ({brief(fault)})"
                    raise UsageError(f"int8=True: {why}; leave it out.") from fault
        metric = next(one for one in task.metrics(run.classes) if all(column in records[0] for column in one.needs))
        of_full, of_int8 = (summarise([metric], own, seed)[metric.key] for own in records)
        [gap] = differences(metric, [records[1]], records[0], _RESAMPLES, 0.95, seed)
        sizes = full.stat().st_size, draft.stat().st_size
        speed = _speeds([full, draft], seen[0])
        count = sum(map(len, seen))
        found = Quantised(out, metric.title, of_full, of_int8, gap, len(test), count, sizes, speed)
        _describe(draft, full, found)
    if found.loses:
        value, low, high = (abs(end) for end in (gap[0], *sorted(gap[1:], key=abs)))
        word = "higher" if metric.better == "lower" else "lower"
        warnings.warn(
            f"int8: {metric.title} is {value:.3g} ({low:.3g} to {high:.3g}) {word} than that of {full.name} on {len(test):,} test "
            "images, more than chance explains; use the full file where that matters.",
            PellucidWarning,
            stacklevel=3,
        )
    return found


def check_task(run: Run) -> None:
    """Refuse tasks whose exported file holds more than the network.

    Raises:
        UsageError: it does.
    """
    name = run.info["task"]["name"]
    if isinstance(run.task, Exports):
        raise UsageError(
            f"int8=True: the file of {name} holds more than its network, such as boxes in px, which 8 bits do not hold; leave it out."
        )


def session(file: Path, threads: int = 1) -> Any:
    """A file in ONNX Runtime, on so many threads of the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _replaced(model: nn.Module, answer: Callable[[Tensor], Tensor]) -> nn.Module:
    """A model whose forward pass is another one; all that its task asks of it besides stays."""
    other = copy.deepcopy(model)
    other.forward = answer
    return other


def _noted(model: nn.Module, images: Tensor, seen: list[NDArray[np.float32]]) -> Tensor:
    seen.append(images.detach().float().contiguous().numpy())
    output: Tensor = model(images)
    return output


def _by(loaded: Any) -> Callable[[Tensor], Tensor]:
    """The first output of a file as a forward pass; probabilities become what a softmax makes them of."""
    name = loaded.get_outputs()[0].name

    def answer(images: Tensor) -> Tensor:
        output = torch.from_numpy(loaded.run([name], {"images": images.detach().float().contiguous().numpy()})[0])
        return output.clamp_min(_LEAST).log() if name == "probabilities" else output

    return answer


def _write(full: Path, draft: Path, seen: Sequence[NDArray[np.float32]]) -> None:
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(seen)

        def get_next(self) -> Mapping[str, Any] | None:
            images = next(self._left, None)
            return None if images is None else {"images": images}

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / "joined.onnx"  # batch norms become parts of the convolutions before them
        quantization.shape_inference.quant_pre_process(str(full), str(joined), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(joined),
            str(draft),
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_KINDS),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def _describe(draft: Path, full: Path, found: Quantised) -> None:
    """Give the file the metadata of the full one, and what was measured."""
    import onnx

    proto = onnx.load(draft)
    facts = {entry.key: entry.value for entry in onnx.load(full).metadata_props}
    onnx.helper.set_model_props(proto, {**facts, "int8": found.facts()})
    draft.write_bytes(proto.SerializeToString())


def _speeds(files: Sequence[Path], images: NDArray[np.float32]) -> tuple[float, float]:
    """Images a second of each file, in turn: the medians over the rounds."""
    sessions = [session(file) for file in files]
    taken: list[list[float]] = [[] for _ in files]
    for _ in range(_ROUNDS):
        for own, loaded in zip(taken, sessions, strict=True):
            calls, began = 0, time.perf_counter()
            while time.perf_counter() - began < _SECONDS / _ROUNDS or not calls:
                loaded.run(None, {"images": images})
                calls += 1
            own.append(calls * len(images) / (time.perf_counter() - began))
    one, other = (statistics.median(own) for own in taken)
    return one, other


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what concerns the library's internals."""
    import logging

    level = logging.root.level
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(level)
