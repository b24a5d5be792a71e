# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/lenses.md: chelsea (a cat) and coffee through EfficientNet-Lite0, a lens each.

python docs/lens_pictures.py [LENS…]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

import pellucid

OPTIONS: dict[str, dict[str, Any]] = {"occlusion": {"patch": 48, "stride": 8}}
WIDEST = 1400  # px


def main() -> None:
    """Look, and keep a picture of a size that a page can hold."""
    for lens in sys.argv[1:] or OPTIONS:
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name in ("chelsea", "coffee"):
                files.append(Path(folder) / f"{name}.png")
                Image.fromarray(getattr(data, name)()).save(files[-1])
            view = pellucid.look("efficientnet_lite0", lens, files, folder, progress=True, **OPTIONS[lens])
            with Image.open(Path(folder) / f"{lens}.png") as picture:
                small = picture.convert("RGB")
        small.thumbnail((WIDEST, WIDEST))
        small.quantize(256).save(Path(__file__).parent / "pictures" / f"lens_{lens}.png", optimize=True)
        print(f"{lens}: {view.words}")


if __name__ == "__main__":
    main()
