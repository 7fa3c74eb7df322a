"""Training on a Ray cluster: each network is a task of Ray's, on whichever node has room for it.

Ray schedules, moves the images and notices lost nodes; this says what to train, and hands on what happens. The
images go to the object store once, and from there once to each node. Every node needs this package installed.
"""

import logging
import os
import re
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from ray._private import ray_constants
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)

from drill_models.backend import Backend, PrecisionName
from drill_models.data import Images, ResidentData
from drill_models.datasets import DatasetName
from drill_models.device import MAX_A_GPU, keep_freed_memory, resolve_backend
from drill_models.errors import DrillError
from search.config import ClusterOptions, TrainingOptions
from search.executors.tasks import Ended, Event, Lost, Task, perform
from search.text import counted

ANSWER = 5.0
"""Seconds that a cluster's head node has to answer."""

LOOK = 5.0
"""Seconds after which it is looked again how much room the cluster has."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A data set as it lies in the object store: arrays, which workers read where they are."""

    name: DatasetName
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    mean: float
    std: float

    @classmethod
    def of(cls, data: ResidentData) -> "Stored":
        """To be stored."""
        images = (data.train.pixels, data.train.labels, data.held_out.pixels, data.held_out.labels)
        a, b, c, d = (tensor.numpy() for tensor in images)
        return cls(name=data.name, arrays=(a, b, c, d), mean=data.mean, std=data.std)

    def data(self) -> ResidentData:
        """As training wants it; nothing is copied, and nothing writes into it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            a, b, c, d = (torch.from_numpy(array) for array in self.arrays)
        return ResidentData(
            name=self.name, train=Images(a, b), held_out=Images(c, d), mean=self.mean, std=self.std
        )


def _train(stored: Stored, task: Task, backend: Backend) -> Iterator[Event]:
    """A task of Ray's: trains a network and says what happens."""
    keep_freed_memory()
    data = stored.data()
    if backend.device == "cuda":
        data = data.to("cuda")
    yield from perform(task, data, backend, lambda: False)


class RayCluster:
    """A cluster that this process is connected to.

    Args:
        training: What was asked for.

    Raises:
        DrillError: The cluster does not have it.
    """

    def __init__(self, training: TrainingOptions) -> None:
        self._training = training
        gpus = _resources().get("GPU", 0)
        if training.device == "cuda" and not gpus:
            raise DrillError("--device cuda: the Ray cluster has no GPU; use --device cpu or auto")
        if gpus and training.device != "cpu":
            precision: PrecisionName = "fp32" if training.precision == "auto" else training.precision
            self.backend = Backend(device="cuda", engine="torch", precision=precision)
        else:
            self.backend = resolve_backend("cpu", training.engine, training.precision)
        self._looked, self._room = 0.0, 0

    @property
    def where(self) -> str:
        """For a person."""
        nodes = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
        return f"a Ray cluster of {counted(nodes, 'node')} ({self.backend.device})"

    @property
    def each(self) -> dict[str, Any]:
        """What Ray is told of a network that trains: it takes a core, and of a GPU a share."""
        options: dict[str, Any] = {"num_cpus": 1, "num_returns": "streaming", "max_retries": 0}
        if self.backend.device == "cuda":
            # Ray ends a process with its task: it stays on the GPU that it began with, whatever it is given next,
            # and so does what broke there.
            return {**options, "num_gpus": 1 / MAX_A_GPU}
        return {**options, "max_calls": 0}  # goes on with the next task, because importing PyTorch takes seconds

    @property
    def places(self) -> int:
        """As many networks as the cluster has room for now: nodes come and go."""
        if self._training.workers is not None:
            return self._training.workers
        now = time.monotonic()
        if not self._looked or now - self._looked > LOOK:
            has = _resources()
            self._room = int(has.get("CPU", 0))
            if self.backend.device == "cuda":
                self._room = min(self._room, int(MAX_A_GPU * has.get("GPU", 0)))
            self._looked = now
        return max(1, self._room)

    @contextmanager
    def executor(
        self, data: ResidentData, workers: int, should_stop: Callable[[], bool]
    ) -> Iterator["RayExecutor"]:
        """An executor for as many networks at a time as there are `places`, also while they change."""
        executor = RayExecutor(data, self)
        try:
            yield executor
        finally:
            executor.close()


class RayExecutor:
    """Trains tasks on the cluster.

    Args:
        data: What to train on.
        cluster: Where.
    """

    here = False

    def __init__(self, data: ResidentData, cluster: RayCluster) -> None:
        self._stored = ray.put(Stored.of(data))
        self._cluster = cluster
        self._running: dict[int, Any] = {}
        self._train: Any = ray.remote(**cluster.each)(_train)

    @property
    def free(self) -> int:
        """Networks that can be submitted now."""
        return max(0, self._cluster.places - len(self._running))

    def submit(self, task: Task) -> None:
        """Gives a task to the cluster, which begins it when there is room."""
        self._running[task.key] = self._train.remote(self._stored, task, self._cluster.backend)

    def stop(self, key: int) -> None:
        """Cancels a task; what it still says is not heard."""
        stream = self._running.pop(key, None)
        if stream is not None:
            ray.cancel(stream)

    def events(self, timeout: float) -> list[Event]:
        """What tasks said, and which of them were lost, since the last call."""
        keys = {stream: key for key, stream in self._running.items()}
        if not keys:
            return []
        ready, others = ray.wait(list(keys), num_returns=1, timeout=timeout, fetch_local=False)
        if ready and others:  # each in its turn, however quick the first is
            ready += ray.wait(others, num_returns=len(others), timeout=0, fetch_local=False)[0]
        found = []
        for stream in ready:
            found += self._read(keys[stream], stream)
        return found

    def close(self) -> None:
        """Cancels everything that still runs, and gives the images back."""
        for key in list(self._running):
            self.stop(key)
        del self._stored

    def _read(self, key: int, stream: Any) -> list[Event]:
        """The next thing that a task said."""
        try:
            event: Event = ray.get(next(stream))
        except StopIteration:  # it ended without a word, which `perform` does not
            event = Lost(key, "a worker ended without a word", False)
        except TaskCancelledError:
            event = Lost(key, "a worker was told to stop", True)
        except RayTaskError as error:
            event = Ended(key, "failed", f"{type(error.cause).__name__}: {error.cause}"[:500])
        except RayError as error:
            killed = isinstance(error, NodeDiedError | OutOfMemoryError | ObjectLostError | LocalRayletDiedError)
            event = Lost(key, f"a worker of the cluster is gone ({type(error).__name__})", killed)
        if isinstance(event, Ended | Lost):
            del self._running[key]
        return [event]


def _resources() -> dict[str, float]:
    """What all nodes together have."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def _reach(address: str | None) -> None:
    """Checks that something listens where a cluster is said to be: Ray itself waits for minutes.

    Raises:
        DrillError: Nothing does, or it is no address of a head node.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).rpartition(":")
    if not re.fullmatch(r"[\w.:\[\]-]+", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        # What it is instead may hold a password.
        raise DrillError("--address is HOST:PORT of the cluster's head node, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise DrillError(f"no Ray cluster answers at {address}: {error}") from error


def _silence() -> None:
    """Keeps Ray from printing the end of nodes among the results, in colours, for which it has no option.

    What that means for a network that trained there is said by `Lost`.
    """
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *words, **more: None


def _keep_to_this_machine() -> None:
    """Lets a cluster that this process starts listen on 127.0.0.1 alone: Ray asks nobody who they are.

    It has no other option for that than the switch by which it leaves clusters out where it does not support them.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False


@contextmanager
def connected(cluster: ClusterOptions, training: TrainingOptions) -> Iterator[RayCluster]:
    """Joins a cluster from one of its nodes, or starts one of this machine alone where there is none.

    Raises:
        DrillError: Nothing answers, or it does not have what was asked for.
    """
    address = cluster.address or os.environ.get("RAY_ADDRESS") or None
    _reach(address)
    if canonicalize_bootstrap_address(address) is None:  # type: ignore[arg-type]
        _keep_to_this_machine()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises what it likes, Exception itself among it
        where = cluster.address or "RAY_ADDRESS, or on this machine"
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise DrillError(f"could not join the Ray cluster at {where}: {said}") from error
    _silence()
    signal.signal(signal.SIGTERM, handler)  # which Ray takes, and which here means to stop as Ctrl-C does
    try:
        yield RayCluster(training)
    except RayError as error:
        raise DrillError(f"the Ray cluster failed: {' '.join(str(error).split())[:300]}") from error
    finally:
        ray.shutdown()
