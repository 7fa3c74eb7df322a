"""Worker processes on this machine.

Each worker has a pipe of its own: nothing is shared that a worker could hold a lock of when it is killed.
A worker is started when there is a first task for it, and again when it has died.
"""

from multiprocessing.connection import wait

import torch

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import threads_each
from drill_models.errors import DrillError
from search.executors.tasks import Event, Task
from search.executors.worker_handle import Worker
from search.executors.worker_main import Place


class ProcessPool:
    """Trains tasks in worker processes, which are replaced when they die.

    Args:
        data: What to train on; moved to shared memory, so that workers have no copies of it on the CPU.
        backend: What trains. On CUDA, worker i has the GPU i modulo the number of GPUs.
        workers: Tasks at a time.

    Raises:
        DrillError: There is not enough shared memory for the data.
    """

    here = False

    def __init__(self, data: ResidentData, backend: Backend, workers: int) -> None:
        _share(data)
        threads = min(torch.get_num_threads(), threads_each(workers))
        gpus = max(1, torch.cuda.device_count()) if backend.device == "cuda" else 1
        self._workers = [
            Worker(i, data, Place(backend=backend, gpu=i % gpus, threads=threads)) for i in range(workers)
        ]

    @property
    def free(self) -> int:
        """Workers without a task, whether their process runs or not."""
        return sum(worker.task is None for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Gives a task to a worker, if possible to one whose process already runs.

        Raises:
            DrillError: The worker dies again and again, or cannot be started.
        """
        idle = [worker for worker in self._workers if worker.task is None]
        if not idle:
            raise ValueError("every worker has a task")
        min(idle, key=lambda worker: not worker.runs).begin(task)

    def stop(self, key: int) -> None:
        """Tells a worker to drop its task, and takes the worker as free at once."""
        for worker in self._workers:
            if worker.task is not None and worker.task.key == key:
                worker.drop()

    def events(self, timeout: float) -> list[Event]:
        """What workers said, and who of them died, since the last call."""
        waiting = [thing for worker in self._workers for thing in worker.waitables()]
        ready = wait(waiting, timeout) if waiting else []
        return [
            event
            for worker in self._workers
            if any(thing in ready for thing in worker.waitables())
            for event in worker.read()
        ]

    def close(self) -> None:
        """Ends all workers; they have nothing to lose."""
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.forget()


def _share(data: ResidentData) -> None:
    """Moves the tensors to shared memory, in place."""
    try:
        for images in (data.train, data.held_out):
            for tensor in (images.pixels, images.labels):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise DrillError(
            f"there is not enough shared memory for the images ({error}); enlarge /dev/shm, or use --workers 1"
        ) from error
