"""Folds done by Ray, on this machine or on a cluster. The only importer of ray.

A worker gets a fold whole and leaves its files in the folder of the fold, as it would be here; they are read from
there. So every machine of the cluster has to see data and run folder under the same paths. Nothing that a worker does
depends on which it is or on what the others do: the files are the same as without Ray.
"""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from rich.console import Console

from ...sync.closing import Closing
from ...sync.errors import ConfigError, DataError, EthostreamError, NodeError
from ..config.fit import FitConfig
from ..fitting.progress import WholeProgress
from .crossval_fold import FoldResult, FoldTask, read_fold, run_fold

# Read when ray is loaded: it sends no usage statistics, and prints nothing on stdout, which may be JSON.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
import ray
import ray.exceptions

LOCAL: Final = "local"
AUTO: Final = "auto"
MOST_RETRIES: Final = 2
"""A fold whose worker died is given to others so many times."""
_CONNECT_S: Final = 5.0
_STORE_BYTES: Final = 100 << 20
"""Of shared memory for a Ray of our own: workers leave files, so next to nothing lies in it."""
_DIED: Final = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.LocalRayletDiedError,
)

Work = Callable[[FoldTask], Any]


def do_fold(task: FoldTask) -> dict[str, Any] | None:
    """What a worker does; returns what the cache was good for to it."""
    return run_fold(task).cache


class RayFolds(Closing):
    """A connection to Ray that does folds; one per process.

    Args:
        address: ``HOST:PORT`` of a cluster, ``ray://HOST:PORT`` of its client port, ``auto`` for the one that runs on
            this machine, or ``local`` for one that is started here and ends with this.
        fit: how many threads and GPUs a fold takes.
        console: told when a worker has died.

    Raises:
        ConfigError: no Ray is there, or no machine of it has so many processors or GPUs.
    """

    def __init__(self, address: str, fit: FitConfig, console: Console) -> None:
        self._console = console
        _require_reachable(address)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL:
            options |= {
                "num_cpus": max(os.cpu_count() or 1, fit.threads),
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
            }
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ConfigError(
                f"--ray {address}: Ray cannot be reached ({error}); start one with `ray start --head`, or use "
                "--ray local"
            ) from error
        self._resources: dict[str, Any] = {"num_cpus": fit.threads}
        if fit.device == "cuda":
            self._resources["num_gpus"] = fit.devices
        try:
            self._require_room(address)
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Leave Ray; one that was started here ends."""
        ray.shutdown()

    def __call__(self, tasks: Sequence[FoldTask]) -> list[FoldResult]:
        """Do all folds of a cross-validation.

        Raises:
            ConfigError, DataError: of the first fold that failed.
            NodeError: a worker died again and again.
        """
        with WholeProgress(self._console, "folds, by Ray", len(tasks)) as whole:
            outcomes = self.outcomes(tasks, whole.end_fits)
        results: list[FoldResult] = []
        for one in outcomes:
            if not isinstance(one, FoldResult):
                raise one
            results.append(one)
        return results

    def outcomes(
        self, tasks: Sequence[FoldTask], ended: Callable[[], None]
    ) -> list[FoldResult | ConfigError | DataError]:
        """Do folds, of one configuration or of several, and say what came of each, in order.

        Args:
            tasks: which.
            ended: told after each.

        Raises:
            NodeError: a worker died again and again, or failed of something else.
            DataError: what a worker has left is not to be seen here.
        """
        found = self.do(do_fold, tasks, ended)
        return [
            one if isinstance(one, ConfigError | DataError) else replace(_read(task), cache=one)
            for task, one in zip(tasks, found, strict=True)
        ]

    def do(self, work: Work, tasks: Sequence[FoldTask], ended: Callable[[], None]) -> list[Any]:
        """Have every task worked on; what each returns, or how it failed, in order. See `outcomes`."""
        remote: Any = ray.remote(work)
        remote = remote.options(max_retries=0, **self._resources)  # retried here, so that it can be said
        waiting: dict[Any, int] = {remote.remote(task): place for place, task in enumerate(tasks)}
        n_deaths = [0] * len(tasks)
        found: list[Any] = [None] * len(tasks)
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            place = waiting.pop(done[0])
            name = f"fold {tasks[place].number + 1} in {tasks[place].run}"
            try:
                found[place] = ray.get(done[0])
            except _DIED as error:
                n_deaths[place] += 1
                what = f"the worker that did {name} died ({type(error).__name__})"
                if n_deaths[place] > MOST_RETRIES:
                    raise NodeError(f"{what}, {n_deaths[place]} times; Ray keeps its log") from error
                self._console.print(
                    f"{what}: given to another, {n_deaths[place]} of {MOST_RETRIES} times", markup=False
                )
                waiting[remote.remote(tasks[place])] = place
                continue
            except ray.exceptions.RayTaskError as error:
                cause: Any = error.cause
                if isinstance(cause, ConfigError | DataError):
                    found[place] = cause
                elif isinstance(cause, EthostreamError):
                    raise cause from error
                else:
                    raise NodeError(f"{name}: {error}") from error
            ended()
        return found

    def _require_room(self, address: str) -> None:
        nodes: list[dict[str, Any]] = [one["Resources"] for one in ray.nodes() if one["Alive"]]
        for asked, name, key in (("num_cpus", "CPU", "fit.threads"), ("num_gpus", "GPU", "fit.devices")):
            n = self._resources.get(asked, 0)
            most = max((float(one.get(name, 0.0)) for one in nodes), default=0.0)
            if n > most:
                raise ConfigError(
                    f"--ray {address}: {key} asks for {n} {name}s, and no machine there has more than {most:g}; ask "
                    "for fewer"
                )


def _require_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would go on trying for minutes."""
    if address in (LOCAL, AUTO):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(f"--ray {address}: expected HOST:PORT, ray://HOST:PORT, auto or local")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        raise ConfigError(
            f"--ray {address}: nothing answers there ({error}); start Ray with `ray start --head`, or use --ray local"
        ) from error


def _read(task: FoldTask) -> FoldResult:
    found = read_fold(task)
    if found is None:
        raise DataError(
            f"{task.folder}: a worker has done this fold, and its files are not here, or of other versions of the "
            "libraries; every machine of the cluster has to see data and run folder under the same paths, and to have "
            "the same libraries"
        )
    return found
