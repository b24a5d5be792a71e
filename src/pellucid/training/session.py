# SPDX-License-Identifier: Apache-2.0
"""What a training holds while it runs: everything checked first, then the folder, then the state from which it resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from pellucid import data
from pellucid._version import __version__
from pellucid.data.batches import Store, store
from pellucid.data.dataset import Dataset, Split
from pellucid.data.draws import mix
from pellucid.data.sizing import training_size
from pellucid.errors import DataError, RunError, TrainingError, UsageError
from pellucid.files import make_folder, write_json
from pellucid.models import Frozen, _building
from pellucid.run import FORMAT, Run
from pellucid.tasks import Task
from pellucid.training import checkpoint, snapshots
from pellucid.training.machine import accelerator, environment, evaluating
from pellucid.training.recipe import Average, Recipe
from pellucid.training.settings import Settings

__all__ = ["Session"]

_FREE = {"checkpoint", "device", "compile"}  # options that may change when a training is resumed


@final
class Session:
    """One training, ready to loop."""

    def __init__(self, settings: Settings, dataset: Dataset, path: Path) -> None:
        self.settings, self.dataset, self.path = settings, dataset, path
        self.task, self.recipe = settings.task, settings.recipe
        self.accelerator = accelerator(self.recipe.device)
        self.step, self.seconds = 0, 0.0
        self.best: dict[str, Any] | None = None
        self.info: dict[str, Any] | None = None
        self.model: Any = None  # an nn.Module with the attributes of models._contract.Model
        self._lock: FileLock | None = None
        self._epoch_order: tuple[int, Tensor] | None = None

    @classmethod
    def prepare(
        cls,
        task: str | Task,
        what: Any,
        model: str | None,
        out: str | Path | None,
        options: Mapping[str, Any],
        weights: Mapping[str, Tensor] | None = None,
    ) -> Session:
        """Check everything that was asked for, then make or reopen the folder, then build or restore the state."""
        settings = Settings.of(task, model, options)
        opened = what if isinstance(what, Dataset) else data.open(what if what is not None else settings.task.example)
        dataset = settings.task.read(opened)
        path = Path(out) if out is not None else _default_path(settings, dataset)
        session = cls(settings, dataset, path)
        session._divide(dataset.splits["train"])
        size = training_size(dataset, session.recipe.size, settings.task.keeps_size)
        description = {
            "name": settings.model,
            "channels": settings.task.inputs(dataset),
            "outputs": settings.task.outputs(dataset, size),
            "size": list(size),
            "options": dict(settings.model_options),
        }
        asked = session._asked(description)
        session.info = session._reopen(asked)
        if session.finished:
            return session
        torch.manual_seed(mix(session.recipe.seed, 0))
        fresh = not (path / "state" / "last.safetensors").exists()
        session.model = _building.build(description, fetch=fresh)
        if session.model.output not in settings.task.accepts:
            raise UsageError(
                f"model={settings.model!r}: gives a {session.model.output}, and {settings.task_name} needs "
                f"{' or '.join(settings.task.accepts)}; choose another model."
            )
        if weights is not None and fresh:
            session.model.load_state_dict(weights)
        session._make_stores(size)
        session._start(asked, fresh)
        return session

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.info is not None and bool(self.info["status"] == "finished")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        if self._lock is not None:
            self._lock.release()

    # -- checks, before anything is written

    def _divide(self, train: Split) -> None:
        """Split the global batch over the processes."""
        if not len(train):
            raise DataError(f"data={self.dataset.name!r}: the train split is empty; give at least one training image.")
        if self.recipe.limit is not None and self.recipe.limit < len(train):
            chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(mix(self.recipe.seed, 1)))
            train = train.select(chosen[: self.recipe.limit].sort().values.numpy())
        self.train = train
        world, wanted = self.accelerator.num_processes, min(self.recipe.batch_size, len(train))
        if self.recipe.batch_size % world or wanted < world:
            raise UsageError(
                f"batch_size={self.recipe.batch_size}: cannot be divided evenly over {world} processes; give a multiple of {world}."
            )
        self.global_batch = wanted - wanted % world
        share = self.global_batch // world
        self.rows = slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)
        # the last, smaller batch is left out: the order is new in every epoch, so no image is left out for good
        self.steps_per_epoch = len(train) // self.global_batch
        self.steps = self.recipe.epochs * self.steps_per_epoch

    def _asked(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """What identifies this training: it resumes a run only if all of this is equal."""
        return {
            "task": {"name": self.settings.task_name, "options": self.settings.task_options},
            "model": description,
            "data": {
                "what": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "classes": list(self.dataset.classes),
                "counts": self.dataset.counts,
                "images": {name: len(split) for name, split in self.dataset.splits.items()},
                "channels": self.dataset.channels,
                "problems": list(self.dataset.problems),
            },
            "recipe": dataclasses.asdict(self.recipe),
            "processes": self.accelerator.num_processes,
        }

    def _reopen(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of an earlier start of this very training, if the folder holds one."""
        if not (self.path / "run.json").exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise RunError(f"out={str(self.path)!r}: exists and is no run; name a folder that is new or empty.")
            return None
        info = Run(self.path).info
        # a record of an earlier version lacks options that came later: they had their default then
        known = {**info, "recipe": dataclasses.asdict(Recipe(**info["recipe"]))}
        for part in ("task", "model", "data", "recipe"):
            for name, (now, then) in _differences(asked[part], known[part]):
                if name not in _FREE:
                    raise RunError(
                        f"out={str(self.path)!r}: holds a run with {name}={_short(then)}, not {_short(now)}; "
                        "give the same options to resume it, or another folder."
                    )
        return info

    # -- state

    def _make_stores(self, size: tuple[int, int]) -> None:
        fit: Literal["resize", "crop"] = "crop" if self.task.keeps_size else "resize"
        channels, fingerprint = self.dataset.channels, self.dataset.fingerprint
        part = f"-{self.recipe.limit}-{self.recipe.seed}" if self.recipe.limit else ""
        self.store: Store = store(self.train, size, channels, fit=fit, fingerprint=f"{fingerprint}-train{part}")
        val = self.dataset.splits["val"]
        self.val: Store | None = (
            store(val, size, channels, fit=fit, fingerprint=f"{fingerprint}-val") if len(val) else None
        )

    def _start(self, asked: Mapping[str, Any], fresh: bool) -> None:
        """Take the folder, and put the model, its players and their optimisers where the training left them."""
        model, recipe, main = self.model, self.recipe, self.accelerator.is_main_process
        if fresh and not model.normalize.pretrained:
            model.normalize.fit(*self.store.statistics())
        self.memory_format = recipe.memory_format(model, self.accelerator.device)
        self.bfloat16 = recipe.bfloat16(model, self.accelerator.device)
        model.to(self.accelerator.device, memory_format=self.memory_format)
        if self.accelerator.device.type == "cuda" and self.accelerator.num_processes > 1:
            self.model = model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self.average = Average(model, recipe.ema) if recipe.ema else None
        players = self.task.players(model)
        world = self.accelerator.num_processes
        if world > 1 and len(players) > 1:  # gradients are shared through the whole model's forward alone
            several = f"{' and '.join(players)} would drift apart in several"
            raise UsageError(f"processes={world}: {several}; train it in one, without a launcher.")
        self.optimizers = {name: recipe.make_optimizer(player) for name, player in players.items()}
        self._optimizer_of = {id(player): self.optimizers[name] for name, player in players.items()}
        self._rate_of = {id(self.optimizers[name]): rate for name, rate in self.task.lr_factors.items()}
        self.frozen = [module for module in model.modules() if isinstance(module, Frozen)]
        self.numbers: dict[str, Any] = {}
        if main:
            self._take_folder()
        if not fresh:
            self.numbers = checkpoint.restore(self.state, self._modules(), self.optimizers)
            self.step, self.seconds = self.numbers["step"], self.numbers["seconds"]
            self.best = self.numbers["best"]
            model.to(memory_format=self.memory_format)
        self.resumed_from = self.step
        if main:
            self._record(asked)
        self.accelerator.wait_for_everyone()
        self.wrapped = self.accelerator.prepare_model(torch.compile(model) if recipe.compile else model)
        if fresh:
            self.update_buffers()
        self._saved = self.begun = time.monotonic()
        self.saved_step = self.step if not fresh else -1

    def _take_folder(self) -> None:
        make_folder(self.state.parent)
        self._lock = FileLock(self.state.parent / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"out={str(self.path)!r}: another process is training it now; wait for it, or name another folder."
            ) from None

    def _record(self, asked: Mapping[str, Any]) -> None:
        earlier = self.info or {}
        before = checkpoint.digest(list(self.frozen))
        self.info = {
            "format": FORMAT,
            "version": __version__,
            "status": "running",
            "command": self.settings.command(self.dataset.name, str(self.path)),
            **asked,
            "seed": self.recipe.seed,
            "environment": environment(self.accelerator.device, self.bfloat16, self.memory_format),
            "started": earlier.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
            "seconds": self.seconds,
            "steps": self.steps,
            "parameters": _building.parameter_count(self.model),
            "best": self.best,
            "frozen": earlier.get("frozen")
            or (before and {"tensors": _tensor_count(self.frozen), "before": before, "after": None}),
        }
        write_json(self.path / "run.json", self.info)

    @property
    def state(self) -> Path:
        """The file to resume from."""
        return self.path / "state" / "last.safetensors"

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated and kept: the average where there is one."""
        return self.average.model if self.average is not None else self.model

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model} if self.average is None else {"model": self.model, "average": self.average.model}

    # -- what the loop asks

    def order(self, epoch: int) -> Tensor:
        """The training images' order in an epoch, (N,) int64."""
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self.recipe.seed, 2, epoch))
            self._epoch_order = epoch, torch.randperm(len(self.train), generator=generator)
        return self._epoch_order[1]

    def reseed(self) -> None:
        """Seed torch's own generator for this step: dropout draws from it."""
        seed = mix(self.recipe.seed, 3, self.step, self.accelerator.process_index)
        # torch.manual_seed costs half a millisecond where CUDA is not started
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def autocast(self) -> torch.autocast:
        """bf16 where it was chosen, else nothing."""
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16)

    def optimizer(self, player: nn.Module, rate: float) -> torch.optim.Optimizer:
        """A player's optimiser, set to the step's learning rate."""
        found = self._optimizer_of.get(id(player))
        if found is None:  # wrapped for several processes, or compiled
            inner = self.accelerator.unwrap_model(player, keep_torch_compile=False)
            found = self._optimizer_of[id(player)] = self._optimizer_of[id(inner)]
        rate *= self._rate_of.get(id(found), 1.0)
        for group in found.param_groups:
            group["lr"] = rate
        return found

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        best, patience, epoch = self.best, self.recipe.patience, self.step // self.steps_per_epoch
        return bool(best and patience and epoch - best.get("reached", best["epoch"]) >= patience)

    def due(self) -> bool:
        """Whether the last saved state is older than asked for."""
        return time.monotonic() - self._saved >= self.recipe.checkpoint

    def stopping(self, stop: threading.Event) -> bool:
        """Whether to stop after this step; processes agree, at every tenth step, so that none waits for another in vain."""
        if self.accelerator.num_processes == 1:
            return stop.is_set()
        if self.step % 10:
            return False
        asked = torch.tensor(int(stop.is_set()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum").item())

    def update_buffers(self) -> None:
        """Let the task compute what the model keeps from all training images, and show the model at work."""
        epoch, seed, device = self.step // self.steps_per_epoch, self.recipe.seed, self.accelerator.device
        self.reseed()
        with torch.no_grad():
            for model in self._modules().values():
                batches = partial(self.store.batches, self.global_batch, device)
                self.task.update_buffers(model, batches, epoch, self.recipe.epochs, seed)
            if self.accelerator.is_main_process:
                with evaluating(self.evaluated) as model:
                    pictures = self.task.snapshot(model, seed)
                if pictures is not None:
                    snapshots.keep(self.path, epoch, pictures)

    def keep_best(self, row: Mapping[str, Any] | None) -> None:
        """Keep the weights if they are the best so far; without validation images the last are."""
        best = self.best if self.task.selects_checkpoint else None
        record = checkpoint.better(row, best, self.task.main, self.step, self.step // self.steps_per_epoch)
        if record is not None:
            self.best = record
            if self.accelerator.is_main_process:
                checkpoint.save_weights(self.path / "weights.safetensors", self.evaluated)

    def save(self, numbers: Mapping[str, Any]) -> None:
        """Write the state to resume from; only the main process writes."""
        self._saved, self.saved_step = time.monotonic(), self.step
        if self.accelerator.is_main_process:
            taken = self.seconds + self._saved - self.begun
            everything = {**numbers, "step": self.step, "seconds": taken, "best": self.best}
            checkpoint.save(self.state, self._modules(), self.optimizers, everything)

    def fail(self, step: int, rate: float, part: str, value: float) -> TrainingError:
        """The error for a loss that is not finite; the run keeps its last good checkpoint."""
        kept = self.numbers.get("saved")
        good = f"the last good checkpoint is that of step {kept}" if kept else "there was no checkpoint yet"
        sentence = (
            f"{part}={value}: not finite at step {step} with learning rate {rate:.3g}; {good}; "
            "train into another folder with a lower lr, or with clip=1."
        )
        if self.accelerator.is_main_process:
            Run(self.path).update(status="failed", failure=sentence)
        return TrainingError(sentence)

    def finish(self) -> Run:
        """Write the last weights and the record of how it ended."""
        self.accelerator.wait_for_everyone()
        done = self.step >= self.steps or self.exhausted
        if self.accelerator.is_main_process:
            checkpoint.save_weights(self.path / "last.safetensors", self.evaluated)
            if not (self.path / "weights.safetensors").exists():  # stopped before the first epoch ended
                checkpoint.save_weights(self.path / "weights.safetensors", self.evaluated)
            changes = {
                "status": "finished" if done else "stopped",
                "seconds": round(self.seconds + time.monotonic() - self.begun, 3),
                "best": self.best,
                "step": self.step,
            }
            if self.info and self.info["frozen"]:
                changes["frozen"] = {**self.info["frozen"], "after": checkpoint.digest(list(self.frozen))}
            Run(self.path).update(**changes)
        self.accelerator.wait_for_everyone()
        return Run(self.path)


def _default_path(settings: Settings, dataset: Dataset) -> Path:
    """runs/TASK-DATA-MODEL-HASH: the same request finds its run again, another one gets a folder of its own."""
    name = "".join(c if c.isalnum() else "_" for c in Path(dataset.name).name)
    key = hashlib.sha256((settings.command(dataset.name, "") + dataset.fingerprint).encode()).hexdigest()[:6]
    return Path("runs") / f"{settings.task_name}-{name}-{settings.model}-{key}"


def _differences(now: Any, then: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for key in {**now, **then}:
            yield from _differences(now.get(key), then.get(key), str(key))
    elif (list(now) if isinstance(now, tuple) else now) != (list(then) if isinstance(then, tuple) else then):
        yield name, (now, then)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _tensor_count(modules: list[Frozen]) -> int:
    return sum(len(module.state_dict()) for module in modules)
