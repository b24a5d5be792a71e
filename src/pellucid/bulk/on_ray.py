# SPDX-License-Identifier: Apache-2.0
"""Ray Data hands the parts to workers, on this machine or on a cluster, and their answers back."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.errors import PellucidError, UsageError, brief

__all__ = ["ahead", "answered", "check_installed"]

# seconds for a process to start on a busy machine, and warnings about Ray's own doings
_SETTINGS = {"RAY_worker_register_timeout_seconds": "300", "RAY_BACKEND_LOG_LEVEL": "fatal"}
_MANY = 8  # parts of each worker, from which one that waits costs less at the end than it saves before
_STORE = 1 << 28  # bytes of shared memory on this machine: what travels is paths and shards


def check_installed() -> None:
    """Refuse to go on without Ray.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "engine='ray': needs ray, which is not installed; install it with: pip install 'pellucid[ray]'"
        )


@final
class _Actor:
    """A worker in a process of Ray's own; its parts come and go as rows of tables."""

    def __init__(self, held: Sequence[Any]) -> None:
        import ray

        from pellucid.bulk.working import Worker

        self._worker = Worker(ray.get(held[0]), cores=1)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        found = [self._worker.answer(Part.of(str(text))) for text in rows["part"]]
        return {"facts": [one.facts() for one in found], "content": [one.content for one in found]}


def answered(parts: Sequence[Part], setup: Setup, workers: int | None) -> Iterator[Answered]:
    """The answers to the parts, as they are ready.

    Without a cluster (RAY_ADDRESS, or `ray.init` by the caller) Ray is started on this machine for this call, without its dashboard
    and statistics of usage. Its processes open ports, and answer only who has the user's token.

    Args:
        parts: of the images.
        setup: what is asked.
        workers: how many processes, a core each; by default one for each core, but no more than there are parts.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Ray asks for a token where it is started here; of a cluster it has to be told, before it is imported
    if os.environ.get("RAY_ADDRESS") and "ray" not in sys.modules and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    with _quiet():
        import ray

        own = not ray.is_initialized()
        if own:
            _start(workers)
    try:
        with _quiet():
            found = _handed_out(parts, setup, workers)
        rows = iter(found.iter_rows())
        while (row := _next(rows)) is not None:
            yield Answered.of(str(row["facts"]), bytes(row["content"]))
    finally:
        if own:
            ray.shutdown()


def _handed_out(parts: Sequence[Part], setup: Setup, workers: int | None) -> Any:
    """The data set of the answers; nothing is computed before it is read."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    have: dict[str, float] = ray.cluster_resources()
    count = min(workers or int(have.get("CPU", 1)), len(parts))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    data = ray.data.from_items([{"part": part.text()} for part in parts], override_num_blocks=len(parts))
    return data.map_batches(
        _Actor,
        fn_constructor_args=([ray.put(setup)],),
        batch_size=1,
        compute=ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=ahead(len(parts), count)),
        num_cpus=1,
        num_gpus=min(1.0, have.get("GPU", 0) / count),
    )


def ahead(parts: int, workers: int) -> int:
    """How many parts a worker has at a time, the one that it answers among them.

    Ray Data looks for answers ten times a second where several workers are busy, so that a worker that is given one part at a time
    waits after each. A second one fills that time, but at the end it can wait for a busy worker while another one is idle.

    >>> ahead(4, 2), ahead(32, 2)
    (1, 2)
    """
    return 2 if parts >= _MANY * workers else 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's remarks about its own settings from the terminal: warnings of Python, and lines that its C++ part prints."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _next(rows: Iterator[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The next answers; a worker's failure as one sentence, of which Ray's last line says most."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return next(rows, None)
    except Exception as fault:
        said = brief(Exception((str(fault).strip().splitlines() or [type(fault).__name__])[-1]))
        raise PellucidError(
            f"engine='ray': a worker failed ({said}); the same command goes on with the images that are left."
        ) from fault


def _start(workers: int | None) -> None:
    """Connect to Ray, or start it, which gives up after half a minute on a busy machine; then once more."""
    import ray

    for last in (False, True):
        try:
            ray.init(**_where(workers), log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as fault:
            ray.shutdown()
            if last:
                raise PellucidError(f"engine='ray': Ray could not be started ({brief(fault)}); try again.") from fault


def _has_token() -> bool:
    """Whether there is a token for a cluster, where Ray looks for it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _where(workers: int | None) -> dict[str, Any]:
    """The cluster that is named, or Ray on this machine alone."""
    cluster = os.environ.get("RAY_ADDRESS")
    if cluster:
        return {"address": cluster}
    return {
        "address": "local",
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _STORE,
        "_node_ip_address": "127.0.0.1",
    }
