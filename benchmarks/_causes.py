# SPDX-License-Identifier: Apache-2.0
"""The root cause of a stack's time, in words: the package that is loaded, the network's kernels by who asks for them, or a part of ours."""

from __future__ import annotations

from _sampling import COLLECTING, Stack

__all__ = ["NETWORK", "cause_of"]

NETWORK = "network"

# who asks for the network, by the outermost frame that says so
_ASKING = {
    "reporting/": "report",
    "lenses/": "lenses",
    "training/choosing.py": "measurement of the ways to compute",
    "training/history.py": "validation",
    "training/training.py:_loop": "training",
    "inference.py": "evaluation",
}
# parts of the network's passes that are no kernels of its layers; they come before these
_OF_THE_MODEL = {
    "torchvision/ops/boxes.py": "suppression of boxes",
    "torchvision/ops/": "pooling of regions",
    "models/fast_rcnn/pooling.py": "pooling of regions",
    "models/fast_rcnn/by_": "pooling of regions",
    "models/fast_rcnn/proposing.py:best": "choice of proposals",
    "models/fast_rcnn/proposing.py:dropped": "choice of proposals",
    "pellucid/_boxes.py": "arithmetic on boxes",
    "tasks/detect/sampling.py": "sampling of regions",
    "models/_selective.py": "baseline: selective search",
    "models/_grouping.py": "baseline: selective search",
}
_KERNELS = {
    "_engine_run_backward": "backward",
    "torch/optim/": "update",
    "Module._call_impl": "forward",
    "models/": "forward",
}
# frames that name a cause, the innermost that is here
_CAUSES = {
    "denoise/baselines.py:_nl_means": "baseline: non-local means",
    "denoise/baselines.py:_median": "baseline: median",
    "denoise/baselines.py:_total": "baseline: total variation",
    "denoise/baselines.py:PCA": "baseline: PCA",
    "classify/baselines.py:neighbours": "baseline: nearest neighbours",
    "classify/baselines.py:_fitted": "baseline: logistic regression",
    "classify/baselines.py:logistic": "baseline: logistic regression",
    "detect/classical.py": "baseline: threshold, watershed, random forest",
    "detect/cutting.py": "baseline: threshold, watershed, random forest",
    "detect/baselines.py": "baseline: places, selective search",
    "detect/matching.py": "measures: matching of boxes",
    "detect/precision.py": "measures: precision and recall",
    "tasks/_intervals.py": "measures: intervals",
    "tasks/_metrics.py": "measures: intervals",
    "data/decoding/": "opening and decoding of files",
    "data/formats/": "opening and decoding of files",
    "data/batches.py": "store of decoded images",
    "data/disk.py": "store of decoded images",
    "data/embedded/": "drawing of the embedded images",
    "data/transforms.py": "augmentation",
    "data/draws.py": "random numbers",
    "data/inspection/": "sheets of images",
    "lenses/occlusion": "lens: occlusion",
    "lenses/_windows.py": "lens: occlusion",
    "lenses/attribution": "lens: attribution",
    "lenses/neighbours": "lens: neighbours",
    "lenses/_index.py": "lens: neighbours",
    "lenses/proposals": "lens: proposals",
    "lenses/curves": "lens: curves",
    "lenses/": "lenses",
    "matplotlib/": "figures",
    "reporting/": "report",
    "tasks/_fidelity.py": "measures: PSNR, SSIM",
    "training/checkpoint.py": "checkpoints",
    "pellucid/weights.py": "checkpoints",
    "training/average.py": "average of the weights",
    "training/history.py": "history and terminal",
    "training/terminal.py": "history and terminal",
    "rich/": "history and terminal",
    "pellucid/files.py": "files",
    "concurrent/futures/": "threads",
    "threading.py": "threads",
}


def cause_of(stack: Stack) -> str:
    """What a stack's time is for.

    >>> cause_of(("demo.py:main", "pellucid/training/training.py:_loop", "torch/nn/modules/module.py:Module._call_impl"))
    'network, forward, training'
    >>> cause_of(("pellucid/tasks/classify/baselines.py:neighbours", "import sklearn", "import scipy.stats", "scipy/stats.py:<module>"))
    'loading sklearn'
    """
    if stack == COLLECTING:
        return "collecting garbage"
    for name in stack:
        if name.startswith("import "):
            package = name.removeprefix("import ").split(".")[0]
            if package not in ("pellucid", "encodings", "None") and not package.startswith("_"):
                return (
                    f"loading {'.'.join(name.removeprefix('import ').split('.')[:2]) if '_dynamo' in name else package}"
                )
    asking = next((who for name in stack for part, who in _ASKING.items() if part in name), "")
    for name in reversed(stack):
        for part, cause in _OF_THE_MODEL.items():
            if part in name:
                return cause
        for part, kind in _KERNELS.items():
            if part in name:
                return f"{NETWORK}, {kind}, {asking or 'others'}"
        for part, cause in _CAUSES.items():
            if part in name:
                return cause
    ours = next((name for name in reversed(stack) if name.startswith("pellucid/")), "")
    return ours.split(":")[0].removeprefix("pellucid/").removesuffix(".py") or "others"
