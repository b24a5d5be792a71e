# SPDX-License-Identifier: Apache-2.0
"""Images a second of one network on one thread: as `predict` runs it, and exported, in full and in whole numbers of 8 bits.

In turn: the network of `predict` in torch, ONNX Runtime with `model.onnx` and with `model-int8.onnx`, and OpenVINO with both where
`--openvino` names a Python that has it: an environment of its own, since it brings much. All get the same batch of noise. Seconds are
those of processor time, which other work on the machine changes least. `off` is the largest difference of an answer from that of
ONNX Runtime in full numbers.

Claim: in whole numbers, ONNX Runtime answers more images a second than in full numbers.

    python benchmarks/inference.py [RUN] [--batch 32] [--rounds 7] [--model convnet] [--size 64] [--openvino PYTHON]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import in_turn, ratio, report

from pellucid.errors import PellucidWarning
from pellucid.exporting import export, facts
from pellucid.predicting import prepared
from pellucid.quantising import Quantised, session
from pellucid.run import Run
from pellucid.training.training import train

_SECONDS = 0.5  # of a round


class OnOpenVINO:
    """A network in a process of another environment, which tells the processor time of its own calls."""

    def __init__(self, python: str, file: Path, images: np.ndarray[Any, Any], place: Path, *precision: str) -> None:
        np.save(place / "images.npy", images)
        script = Path(__file__).with_name("_openvino.py")
        answers = place / "answers.npy"
        words = [python, str(script), str(file), str(place / "images.npy"), str(answers), *precision]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version, self.precision = self._line().split()
        self.answers: np.ndarray[Any, Any] = np.load(answers)

    def seconds(self, count: int) -> float:
        """Of so many calls."""
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("--openvino: its process has ended; the Python named there needs numpy and openvino.")
        return line


def calling(way: Callable[[Any], Any], images: np.ndarray[Any, Any]) -> Callable[[int], float]:
    """Seconds of processor time of so many calls."""

    def seconds(count: int) -> float:
        began = time.process_time()
        for _ in range(count):
            way(images)
        return time.process_time() - began

    return seconds


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("run", nargs="?")
    words.add_argument("--batch", type=int, default=32)
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--model", default="convnet")
    words.add_argument("--size", type=int, default=64)
    words.add_argument("--openvino", metavar="PYTHON", help="a Python whose environment has numpy and openvino")
    asked = words.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if asked.run is None:
            settings: dict[str, Any] = {"epochs": 3, "size": asked.size, "progress": False}
            run = train("classify", "digits", asked.model, place / "run", **settings)
        else:
            run = Run(asked.run)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PellucidWarning)  # a loss is printed below
            full, int8 = export(run, place / "files", ["onnx"], int8=True)
        images = np.random.default_rng(0).random((asked.batch, run.planes, *run.size), np.float32)
        model = prepared(run).to("cpu")

        def by_model(given: np.ndarray[Any, Any]) -> Any:
            with torch.inference_mode():
                return model(torch.from_numpy(given))

        ways: dict[str, Callable[[int], float]] = {"predict": calling(by_model, images)}
        answers: dict[str, np.ndarray[Any, Any]] = {}
        others: dict[str, OnOpenVINO] = {}
        for name, file in (("full", full), ("int8", int8)):
            loaded = session(file)
            way = lambda given, loaded=loaded: loaded.run(None, {"images": given})[0]  # noqa: E731
            ways[f"ONNX Runtime, {name}"] = calling(way, images)
            answers[f"ONNX Runtime, {name}"] = way(images)
        if asked.openvino:
            for name, file, precision in (
                ("full", full, ("f32",)),
                ("full, its own format", full, ()),
                ("int8", int8, ()),
            ):
                others[f"OpenVINO, {name}"] = OnOpenVINO(asked.openvino, file, images, place, *precision)
        for name, other in others.items():
            ways[name], answers[name] = other.seconds, other.answers
        calls = {}
        for name, seconds in ways.items():
            seconds(1)
            calls[name] = max(1, round(_SECONDS / max(seconds(1), 1e-6)))

        def rival(name: str) -> Callable[[], float]:
            return lambda: ways[name](calls[name]) / calls[name]

        taken = in_turn({name: rival(name) for name in ways}, asked.rounds)
        for other in others.values():
            other.close()
        found = Quantised.of(facts(int8)["int8"])
        report(
            "int8 in ONNX Runtime is faster than full",
            model=run.model_name,
            size=list(run.size),
            batch=asked.batch,
            images_per_second={name: round(asked.batch / float(np.median(own)), 1) for name, own in taken.items()},
            int8_over_full=round(ratio(taken, "ONNX Runtime, int8", "ONNX Runtime, full"), 2),
            int8_over_predict=round(ratio(taken, "ONNX Runtime, int8", "predict"), 2),
            off={
                name: float(f"{np.abs(own - answers['ONNX Runtime, full']).max():.2g}") for name, own in answers.items()
            },
            openvino={name: [other.version, other.precision] for name, other in others.items()},
            measures=found.words,
        )


if __name__ == "__main__":
    main()
