# SPDX-License-Identifier: Apache-2.0
"""Images a second of one network on one thread: as `predict` runs it, and exported, in full and in whole numbers of 8 bits.

In turn: the network of `predict` in torch, ONNX Runtime with `model.onnx` and with `model-int8.onnx`, and OpenVINO with both where it is
installed. All get the same batches of noise. Seconds are those of processor time, which other work on the machine changes least.

Claim: in whole numbers, ONNX Runtime answers more images a second than in full numbers.

    python benchmarks/inference.py [RUN] [--batch 32] [--rounds 7] [--model convnet] [--size 64]
"""

from __future__ import annotations

import argparse
import importlib.util
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


def on_openvino(file: Path) -> Callable[[np.ndarray[Any, Any]], Any]:
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda images: compiled([images])


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("run", nargs="?")
    words.add_argument("--batch", type=int, default=32)
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--model", default="convnet")
    words.add_argument("--size", type=int, default=64)
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

        ways: dict[str, Callable[[Any], Any]] = {"predict": by_model}
        for name, file in (("full", full), ("int8", int8)):
            loaded = session(file)
            ways[f"ONNX Runtime, {name}"] = lambda given, loaded=loaded: loaded.run(None, {"images": given})
            if importlib.util.find_spec("openvino") is not None:
                ways[f"OpenVINO, {name}"] = on_openvino(file)
        if importlib.util.find_spec("openvino") is None:
            print("OpenVINO is not installed, and is left out.")
        calls = {}
        for name, way in ways.items():
            began, count = time.process_time(), 0
            while time.process_time() - began < _SECONDS:
                way(images)
                count += 1
            calls[name] = count

        def rival(name: str) -> Callable[[], float]:
            def timed() -> float:
                began = time.process_time()
                for _ in range(calls[name]):
                    ways[name](images)
                return (time.process_time() - began) / calls[name]

            return timed

        taken = in_turn({name: rival(name) for name in ways}, asked.rounds)
        found = Quantised.of(facts(int8)["int8"])
        report(
            "int8 in ONNX Runtime is faster than full",
            model=run.model_name,
            size=list(run.size),
            batch=asked.batch,
            images_per_second={name: round(asked.batch / float(np.median(own)), 1) for name, own in taken.items()},
            int8_over_full=round(ratio(taken, "ONNX Runtime, int8", "ONNX Runtime, full"), 2),
            int8_over_predict=round(ratio(taken, "ONNX Runtime, int8", "predict"), 2),
            measures=found.words,
        )


if __name__ == "__main__":
    main()
