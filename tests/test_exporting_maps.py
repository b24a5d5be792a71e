# SPDX-License-Identifier: Apache-2.0
"""All four ways up, attention, and encoders, as ONNX files for images of any size: equal to the model on odd sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import train
from pellucid.exporting import export, facts

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

GIVEN: dict[str, tuple[str, dict[str, Any]]] = {
    "unpool": ("encoder_decoder", {"upsample": "unpool", "widths": (4, 6, 8)}),
    "interpolate": ("encoder_decoder", {"upsample": "interpolate", "widths": (4, 6, 8)}),
    "transpose": ("encoder_decoder", {"upsample": "transpose", "widths": (4, 6, 8)}),
    "dilated": ("encoder_decoder", {"upsample": "dilated", "widths": (4, 6, 8)}),
    "attention": ("coarse_to_fine", {"widths": (4, 6)}),
    "encoder": ("unet", {"encoder": "test_resnet.r160_in1k", "pretrained": False}),
}
QUICK = "unpool"  # the way that exporters of torch's own function refuse


@pytest.mark.parametrize("way", [pytest.param(way, marks=[] if way == QUICK else pytest.mark.slow) for way in GIVEN])
def test_odd_sizes_are_answered_as_by_the_model(tmp_path: Path, way: str) -> None:
    name, options = GIVEN[way]
    run = train("denoise", "digits", name, tmp_path / "run", epochs=1, limit=32, batch_size=16, device="cpu",
                progress=False, **options)  # fmt: skip
    (file,) = export(run, formats=["onnx"])
    assert "(batch, 1, any, any)" in facts(file)["input"]
    assert {entry.domain for entry in onnx.load(file).opset_import} == {""}, "only operations of the standard"
    session, model = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]), run.model()
    for number, shape in enumerate([(1, 1, 7, 9), (3, 1, 13, 5), (2, 1, 8, 16), (1, 1, 33, 65)]):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(number))
        images[..., : shape[2] // 2, :] = 0.5  # equal values: the first of them is the maximum there too
        with torch.no_grad():
            wanted = model(images).numpy()
        found: Any = session.run(["output"], {"images": images.numpy()})[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4 * (1 + float(np.abs(wanted).max())))
