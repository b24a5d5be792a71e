# SPDX-License-Identifier: Apache-2.0
"""The two halves of the package: worksheets and the command line come with it, and what images need with `pellucid[images]`."""

from __future__ import annotations

from typing import Final

from pellucid.errors import MissingPackageError

__all__ = ["IMAGES", "missing"]

IMAGES: Final = {
    "accelerate": "accelerate", "constriction": "constriction", "cv2": "opencv-python-headless", "datasets": "datasets",
    "defusedxml": "defusedxml", "faster_coco_eval": "faster-coco-eval", "filelock": "filelock", "h5py": "h5py",
    "huggingface_hub": "huggingface-hub", "jinja2": "jinja2", "openTSNE": "openTSNE", "pandas": "pandas", "PIL": "pillow",
    "psutil": "psutil", "pyarrow": "pyarrow", "safetensors": "safetensors", "scipy": "scipy", "simplejpeg": "simplejpeg",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "tifffile": "tifffile", "timm": "timm", "torch": "torch",
    "torchvision": "torchvision", "xxhash": "xxhash", "yaml": "pyyaml",
}  # fmt: skip
"""The modules that the image half imports, each with the package that it comes in; the extra `images` lists the packages."""


def missing(fault: ModuleNotFoundError, what: str) -> MissingPackageError | None:
    """What to say where a package of the image half is not installed; None where another module is missing.

    >>> print(missing(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"), "train"))
    train: needs torch, which is not installed; install what works on images with: pip install 'pellucid[images]'
    >>> missing(ModuleNotFoundError("No module named 'torchh'", name="torchh"), "train") is None
    True

    Args:
        fault: the failed import.
        what: the command or function that was asked for.
    """
    package = IMAGES.get((fault.name or "").split(".")[0])
    if package is None:
        return None
    return MissingPackageError(
        f"{what}: needs {package}, which is not installed; install what works on images with: pip install 'pellucid[images]'"
    )
