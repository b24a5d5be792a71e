# SPDX-License-Identifier: Apache-2.0
"""A peer of `pellucid serve` in the benchmark of serving, in a process of its own, whose Python may be that of another environment.

    python benchmarks/_served.py KIND RUN PORT

The peers are what one writes first around a run's model: a handler of FastAPI, and an interface of Gradio, as its defaults make it and
as fast as it gets: with whole batches, which its documentation recommends for many users.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import uvicorn
from numpy.typing import NDArray
from PIL import Image

from pellucid.run import Run

TOGETHER = 64  # images of a batch in Gradio, as in `pellucid serve`


def classifier(folder: str) -> tuple[Run, Callable[[Sequence[Image.Image]], list[dict[str, float]]]]:
    """A run, and the probabilities of its classes for images, by the model as it was trained."""
    run = Run(folder)
    model, (height, width) = run.model(), run.size
    mode = "L" if run.channels == 1 else "RGB"

    def array(image: Image.Image) -> NDArray[np.float32]:
        found = np.asarray(image.convert(mode).resize((width, height)), np.float32)
        return found.reshape(height, width, run.channels).transpose(2, 0, 1) / 255

    def answer(images: Sequence[Image.Image]) -> list[dict[str, float]]:
        with torch.inference_mode():
            shares = model(torch.from_numpy(np.stack([array(image) for image in images]))).softmax(1)
        return [dict(zip(run.classes, row, strict=True)) for row in shares.tolist()]

    return run, answer


def handler(folder: str) -> Any:
    """FastAPI with a file as its parameter; each request is answered in a thread, one image at a time."""
    import fastapi

    _, answer = classifier(folder)
    app = fastapi.FastAPI()

    @app.post("/predict")
    def predict(image: bytes = fastapi.File()) -> dict[str, Any]:
        [shares] = answer([Image.open(io.BytesIO(image))])
        return {"label": max(shares, key=shares.__getitem__), "probabilities": shares}

    return app


def interface(folder: str, batches: bool) -> Any:
    """An interface of Gradio with a picture and its labels."""
    import gradio

    run, answer = classifier(folder)
    mode: Any = "L" if run.channels == 1 else "RGB"
    sides = [gradio.Image(type="pil", image_mode=mode), gradio.Label(num_top_classes=len(run.classes))]
    if not batches:
        return gradio.Interface(lambda image: answer([image])[0], *sides, api_name="predict")
    # one list for each output
    return gradio.Interface(
        lambda images: [answer(images)], *sides, api_name="predict", batch=True, max_batch_size=TOGETHER
    )


def main() -> None:
    kind, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind.startswith("gradio"):
        interface(folder, batches="batches" in kind).launch(server_port=port, quiet=True, share=False)
        return
    uvicorn.run(handler(folder), port=port, log_level="error", access_log=False, ws="none")


if __name__ == "__main__":
    main()
