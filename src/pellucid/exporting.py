# SPDX-License-Identifier: Apache-2.0
"""Export of a run's model to ONNX and torch.export, each file verified against the model before it is kept.

Both take float32 images in [0, 1], (B, C, H, W), with any B; the normalisation is the model's first layer and thus in the
file. They return probabilities of the classes where the model scores classes, else what it returns; or the task's answers, where it
`Exports` them. H and W are free if the architecture allows it, else those of the training images.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import logging
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pellucid._version import __version__
from pellucid.bare import as_run
from pellucid.errors import PellucidError, UsageError, check_choice
from pellucid.files import folder_of, write_atomically
from pellucid.run import Run
from pellucid.tasks import AnyTask, Exports, ExportsProbabilities, ReadsPages, TaskFamily

__all__ = ["export", "facts"]

_log = logging.getLogger(__name__)
_shapes = importlib.import_module("torch.fx.experimental._config")  # how torch.export reasons about sizes

Answer = Callable[[Tensor], Sequence[Tensor]]  # images (B, C, H, W) to outputs

_FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
_INT8 = "model-int8.onnx"
_FITS = {  # how images of other sizes came to that of the training, which a user of the file does before it
    "squash": "squash: height and width are scaled apart",
    "crop": "crop: both sides are scaled alike, so that the size is filled, and the middle is taken",
    "pad": "pad: both sides are scaled alike, so that all fits, in the middle of the median colour of the border",
}
_TOLERANCE = 1e-4  # of the largest output; float32 sums in another order differ by about 1e-6


def export(
    run: Run | nn.Module | str | Path,
    out: str | Path | None = None,
    formats: Sequence[Literal["onnx", "torch"]] = ("onnx", "torch"),
    logits: bool = False,
    int8: bool = False,
    *,
    task: str | AnyTask | TaskFamily | type[Any] | None = None,
    classes: Sequence[str] = (),
    size: int | Sequence[int] = (),
    data: Any = None,
) -> list[Path]:
    """Export a run's best model to model.onnx and model.pt2, verified on random images at several batch sizes.

    The files describe their input and output in their metadata: `metadata_props` in the ONNX file, the extra file
    `pellucid.json` in the other.

    >>> import tempfile, pellucid
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = pellucid.train("classify", "digits", "mlp", folder, hidden=(16,), epochs=1, progress=False)
    ...     [file.name for file in export(run, formats=["torch"])]
    ['model.pt2']

    Args:
        run: the run, or its folder; or a module, which stays as it is.
        out: the folder for the files; by default the run's own.
        formats: "onnx" and/or "torch".
        logits: give the scores before the softmax, named "logits", rather than "probabilities".
        int8: also write model-int8.onnx, the network in whole numbers of 8 bits; its metadata say under "int8" how it compares with
            the full one on the test images: the deciding measure, bytes, images a second. A warning says if it is worse.
        task, classes, size, data: of a module, as `predict` takes them; int8 needs data.

    Returns:
        The paths of the files.

    Raises:
        UsageError: an unknown format, one that needs a package which is not installed, logits where there are none, or int8
            without the format "onnx" or for a task whose file holds more than its network; or a module comes without what its
            task needs, or without `out`.
        PellucidError: a file's outputs differ from the model's, and it was not kept.
    """
    if isinstance(run, nn.Module) and out is None:
        raise UsageError(
            f"out=None: {type(run).__name__} is a module and has no folder of its own; name one for the files."
        )
    run = as_run(run, data, task=task, classes=classes, size=size)
    for form in formats:
        check_choice("formats", form, _FILES)
    if "onnx" in formats:
        _need_onnx()
    elif int8:
        raise UsageError(f"int8=True: is made of the ONNX file; add onnx to formats={list(formats)}.")
    if int8:
        from pellucid.quantising import check_task, quantise

        check_task(run)
    folder = folder_of(out, "export") if out is not None else run.path
    model = run.model()
    module, names = _outputs(run, model, logits)
    graphs = _Graphs(module, run.planes, run.size)
    written = []
    for form in dict.fromkeys(formats):
        path = folder / _FILES[form]
        with write_atomically(path) as draft, _quiet():
            _write(form, graphs, module, run, draft, names)
        written.append(path)
    if int8:
        written.append(quantise(run, model, folder / _FILES["onnx"], folder / _INT8).file)
    return written


def facts(file: str | Path) -> dict[str, str]:
    """The metadata of an exported file, as text: input, task, classes and so on.

    Raises:
        UsageError: the file was not written by `export`.
    """
    path = Path(file)
    try:
        if path.suffix == ".onnx":
            import onnx

            return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        # a .pt2 file is a zip archive, whose extra files lie in one folder
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("extra/pellucid.json"))
            metadata: dict[str, str] = json.loads(archive.read(name))
            return metadata
    except Exception as fault:
        raise UsageError(
            f"file={str(file)!r}: is not an exported run ({fault}); write one with `pellucid export`."
        ) from fault


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"formats='onnx': needs {', '.join(missing)}; install it with: pip install 'pellucid[export]'")


class _Graphs:
    """The graphs to try, each with whether it takes images of any size; all take any batch size. None is traced before it is tried."""

    def __init__(self, model: nn.Module, channels: int, size: tuple[int, int]) -> None:
        self._model, self._channels, self._size = model, channels, size

    def __iter__(self) -> Iterator[tuple[ExportedProgram, bool]]:
        if self._free is not None:
            yield self._free, True
        yield self._fixed, False

    @cached_property
    def _free(self) -> ExportedProgram | None:
        if getattr(self._model, "fixed_size", None) is not None:
            return None
        # unequal sizes that are no powers of two, so that none is mistaken for a constant or a multiple
        images = torch.rand(2, self._channels, self._size[0] + 3, self._size[1] + 5)
        try:
            # do not treat a size of 1 specially: small images have it at the coarsest scale
            with _shapes.patch(backed_size_oblivious=True), _short_padding():
                return _graph(self._model, images, {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC})
        except Exception as reason:  # torch.export raises exceptions of many kinds
            _log.info("the image size stays fixed: %s", reason)
            return None

    @cached_property
    def _fixed(self) -> ExportedProgram:
        return _graph(self._model, torch.rand(2, self._channels, *self._size), {0: Dim.DYNAMIC})


def _graph(model: nn.Module, images: Tensor, free: Mapping[int, Any]) -> ExportedProgram:
    with _quiet(), torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=(dict(free),))


@contextmanager
def _short_padding() -> Iterator[None]:
    """timm's "same" padding by a formula without fractions: those of free sizes take minutes to reason about."""
    if "timm" not in sys.modules:
        yield
        return
    padding: Any = importlib.import_module("timm.layers.padding")
    usual = padding.get_same_padding

    def short(size: Any, kernel: int, stride: int, dilation: int) -> Any:
        missing = (kernel - 1) * dilation - (size - 1) % stride  # (⌈n/s⌉ − 1)·s = n − 1 − (n − 1) mod s
        return missing if (kernel - 1) * dilation >= stride - 1 else usual(size, kernel, stride, dilation)

    padding.get_same_padding = short
    try:
        yield
    finally:
        padding.get_same_padding = usual


def _outputs(run: Run, model: nn.Module, logits: bool) -> tuple[nn.Module, Sequence[str]]:
    """The module that is exported, and the names of its outputs."""
    task = run.task
    if isinstance(task, ExportsProbabilities):
        module, name = task.named_output(model, logits)
        return module, (name,)
    if logits:
        raise UsageError(
            f"logits=True: the output of {run.info['task']['name']} are no probabilities of classes; leave it out."
        )
    return (task.exportable(model), task.exported) if isinstance(task, Exports) else (model, ("output",))


def _write(
    form: str,
    graphs: _Graphs,
    module: nn.Module,
    run: Run,
    draft: Path,
    names: Sequence[str],
) -> None:
    """Write the first graph that computes what the module does; the metadata say which images it takes."""
    write = _write_onnx if form == "onnx" else _write_torch
    for graph, free in graphs:
        try:
            answer = write(graph, draft, _facts(run, module, free, names), names)
            _compare(run.task, module, answer, list(_samples(run.planes, run.size, free)), _FILES[form])
            return
        except Exception as reason:
            # a format may lack an operation for free sizes, and then takes the fixed graph; no graph cures a full disk
            if not free or isinstance(reason, OSError):
                raise
            _log.info("%s: the image size stays fixed: %s", _FILES[form], reason)


def _samples(channels: int, size: tuple[int, int], free: bool) -> Iterator[Tensor]:
    """Random images at several batch sizes, and image sizes if those are free, from a generator of their own."""
    generator = torch.Generator().manual_seed(0)
    for number, batch in enumerate((1, 2, 7)):
        more = number * 9 if free else 0
        yield torch.rand(batch, channels, size[0] + more, size[1] + 2 * more, generator=generator)  # (B, C, H, W)


def _facts(run: Run, module: nn.Module, free: bool, names: Sequence[str]) -> dict[str, str]:
    """The metadata of a file, as text."""
    height, width = ("any", "any") if free else map(str, run.size)
    scale = None if run.info["data"].get("range") is None else run.scale
    of_values = {} if scale is None else {"values": f"{scale} in the files of its training are 0 to 1 here"}
    return {
        **of_values,
        "range": "0 to 1",
        **({} if run.task.crops or isinstance(run.task, ReadsPages) else {"fit": _FITS[run.task.fitting]}),
        "size": "any" if free else f"{height}x{width} px",
        "output": ", ".join(names),
        "input": f"float32 images in [0, 1], (batch, {run.planes}, {height}, {width})",
        "task": run.info["task"]["name"],
        "task options": json.dumps(run.info["task"]["options"]),
        "classes": json.dumps(run.classes, ensure_ascii=False),
        "trained on": f"{run.size[0]}x{run.size[1]} px",
        "written by": f"pellucid {__version__}",
        **(run.task.described(module) if isinstance(run.task, Exports) else {}),
    }


def _write_torch(graph: ExportedProgram, draft: Path, about: Mapping[str, str], names: Sequence[str]) -> Answer:
    # through memory: on a full disk, torch's own file writer aborts the process
    archive = io.BytesIO()
    torch.export.save(graph, archive, extra_files={"pellucid.json": json.dumps(about, ensure_ascii=False)})
    draft.write_bytes(archive.getbuffer())
    loaded = torch.export.load(draft).module()
    return lambda images: _several(loaded(images))


def _several(output: Any) -> Sequence[Tensor]:
    """A module's outputs, of which it may have one or several."""
    return output if isinstance(output, (tuple, list)) else (output,)


def _write_onnx(graph: ExportedProgram, draft: Path, about: Mapping[str, str], names: Sequence[str]) -> Answer:
    import onnx
    import onnxruntime

    program = torch.onnx.export(graph, dynamo=True, input_names=["images"], output_names=[*names], verbose=False)
    assert program is not None  # None only if a file is named
    proto = program.model_proto
    # the tracer names free dimensions s77 and the like: give them names that say what they are
    axes = zip(proto.graph.input[0].type.tensor_type.shape.dim, ("batch", "channels", "height", "width"), strict=True)
    meaning = {axis.dim_param: name for axis, name in axes if axis.dim_param}
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in meaning:
                axis.dim_param = meaning[axis.dim_param]
    onnx.helper.set_model_props(proto, dict(about))
    onnx.checker.check_model(proto)
    draft.write_bytes(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised anyway
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # three small batches are no work to wait for
    session = onnxruntime.InferenceSession(draft, options, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(output) for output in session.run(None, {"images": images.numpy()})]


def _compare(task: AnyTask, module: nn.Module, answer: Answer, samples: Sequence[Tensor], name: str) -> None:
    """Raise an error if a file does not compute what the module does."""
    for images in samples:
        with torch.no_grad():
            wanted, got = _several(module(images)), answer(images)
        shapes = [tuple(output.shape) for output in got]
        if shapes != [tuple(output.shape) for output in wanted]:
            gap: str | None = f"in shape, {', '.join(map(str, shapes))}"
        else:
            gap = task.disagreement(wanted, got) if isinstance(task, Exports) else _gap(wanted[0], got[0])
        if gap is not None:
            raise PellucidError(
                f"{name}: differs from the model {gap} on images of {tuple(images.shape)}; it was not kept, please report this."
            )


def _gap(wanted: Tensor, got: Tensor) -> str | None:
    """How far an output is from the wanted one; None where it is as near as rounding allows."""
    if torch.allclose(wanted, got, rtol=0, atol=_TOLERANCE * (1 + float(wanted.abs().max()))):
        return None
    return f"by {float((wanted - got).abs().max()):.2g}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings and log lines, which concern their internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = {
            name: logging.getLogger(name).level for name in ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")
        }
        try:
            for name in levels:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
