"""The notebook's loop against this engine: images trained a second on the whole machine, side by side.

For each hand step the two take turns (notebook, engine, notebook, engine ...), never at once, each time in
fresh processes, with the same network, batch size, augmentation, optimiser and schedule.

- Notebook: one process with PyTorch's default threads (all cores): torchvision's MNIST class and transforms
  on PIL images, a DataLoader, plain PyTorch layers, the loss read back each batch (`notebook.py`). Notebooks
  differ in the DataLoader's worker processes; each number of `--loader-workers` is tried once before the
  turns, and the fastest is compared with.
- Engine: as a search uses the machine, `--workers` processes that train the step at the same time by
  `drill_models.train.train`, with cores / workers threads each. Its figure is the images of all of them,
  divided by the time from a common start to the last one's end.

With `--backend cuda` both sides train on the GPU: the notebook moves each batch there from pinned memory, and
its DataLoader may want more worker processes (`--loader-workers`).

Imports and reading the data are not counted. Both sides first train ten batches, whose seconds are shown
apart; the engine compiles the network's kernels in them, which a search does once a trial. Only training
counts: the notebook side is not evaluated, and the engine, which always is, holds out 100
images. Cycles are shortened to the epochs that are trained, which changes no work.

    python tests/benchmarks/throughput.py [--steps a-runs/5 b-cyclic/5 d-rotation/5] [--repeats 5]
        [--images 12800] [--engine-epochs 2] [--workers N] [--backend NAME] [--out FILE.json]
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Barrier

import notebook
import torch
from bench import (
    BACKENDS,
    add_shared_options,
    find_mnist,
    fresh_environment,
    in_fresh_process,
    named_step,
    one_sentence,
    versions,
    write_json,
)

from drill_models.backend import DeviceName
from drill_models.data import ResidentData, full_data
from drill_models.device import keep_freed_memory, usable_cores
from drill_models.resolve import Resolved
from drill_models.step import Recipe
from drill_models.train import train

WARM_UP_BATCHES, HELD_OUT = 10, 100
WAIT = 600
"""Seconds that a process waits for the others to be ready."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What is trained.

    Attributes:
        step: Name of the hand step.
        resolved: The data.
        images: Of an epoch, at most.
        epochs: Of the run.
    """

    step: str
    resolved: Resolved
    images: int
    epochs: int

    @property
    def recipe(self) -> Recipe:
        """The step's, for the epochs of this run."""
        recipe = named_step(self.step).recipe
        return recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": self.epochs})})

    def data(self) -> ResidentData:
        """The first images, and very few held out."""
        whole = full_data(self.resolved)
        n = min(self.images, len(whole.train))
        return replace(whole, train=whole.train[torch.arange(n)], held_out=whole.held_out[torch.arange(HELD_OUT)])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one process.

    Attributes:
        images: Trained.
        started: On the clock that all processes of a machine share.
        ended: Likewise.
        warm_up: Seconds of the batches before.
        epochs: Seconds of each epoch, where the engine says them.
    """

    images: int
    started: float
    ended: float
    warm_up: float
    epochs: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / (self.ended - self.started)


def notebook_run(piece: Slice, num_workers: int, device: DeviceName) -> Measured:
    """Trains as a notebook does, with all of this process's threads, and on a GPU if there is to be one."""
    data, config = piece.data(), piece.recipe.training
    torch.manual_seed(0)
    net = notebook.Net(piece.recipe.model).to(device)
    optimizer = notebook.optimizer_of(config, net)
    batches = notebook.loader(
        data.train,
        augment=config.augment,
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=num_workers,
        pin_memory=device == "cuda",
    )
    after_batch, after_epoch = notebook.schedulers(config, optimizer, len(batches))
    smoothing = config.label_smoothing
    began = time.monotonic()
    train_epoch = partial(notebook.train_epoch, net, batches, optimizer, label_smoothing=smoothing, device=device)
    train_epoch(limit=WARM_UP_BATCHES)
    started = time.monotonic()
    for _ in range(config.epochs):
        loss, _ = train_epoch(after_batch=after_batch)
        after_epoch(loss)
    ended = time.monotonic()
    images = config.epochs * len(data.train)
    return Measured(images=images, started=started, ended=ended, warm_up=started - began)


_gate: Barrier | None = None
"""Where the engine's processes wait for each other; set in each of them as it starts."""


def prepare(gate: Barrier, threads: int) -> None:
    """Sets a process up as the engine does with its own."""
    global _gate
    _gate = gate
    torch.set_num_threads(threads)
    keep_freed_memory()


def engine_run(piece: Slice, seed: int, name: str) -> Measured:
    """Trains by the engine, from the moment when all its processes are ready."""
    assert _gate is not None
    try:
        data, recipe, backend = piece.data(), piece.recipe, BACKENDS[name]
        few = min(len(data.train), WARM_UP_BATCHES * recipe.training.batch_size)
        short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})})
        began = time.monotonic()
        for _ in train(short, replace(data, train=data.train[torch.arange(few)]), seed=seed, backend=backend):
            pass
        warm_up = time.monotonic() - began
    except BaseException:
        _gate.abort()
        raise
    _gate.wait(WAIT)
    started = time.monotonic()
    epochs = tuple(record.seconds for record in train(recipe, data, seed=seed, backend=backend))
    ended = time.monotonic()
    images = recipe.training.epochs * len(data.train)
    return Measured(images=images, started=started, ended=ended, warm_up=warm_up, epochs=epochs)


def engine_runs(piece: Slice, workers: int, backend: str) -> list[Measured]:
    """The same training in each of so many processes at the same time, with different seeds."""
    threads = max(1, usable_cores() // workers)
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(workers)
    with (
        fresh_environment(threads),
        ProcessPoolExecutor(workers, mp_context=spawn, initializer=prepare, initargs=(gate, threads)) as pool,
    ):
        waiting = [pool.submit(engine_run, piece, seed, backend) for seed in range(workers)]
        return [future.result() for future in waiting]


def together(runs: list[Measured]) -> Measured:
    """Several processes as one: all images, from the first start to the last end."""
    return Measured(
        images=sum(run.images for run in runs),
        started=min(run.started for run in runs),
        ended=max(run.ended for run in runs),
        warm_up=max(run.warm_up for run in runs),
    )


def compare(arguments: argparse.Namespace, step: str, resolved: Resolved) -> dict[str, object]:
    """All turns of one step, printed as they come."""
    piece = Slice(step=step, resolved=resolved, images=arguments.images, epochs=1)
    engine_piece = replace(piece, epochs=arguments.engine_epochs)
    device = BACKENDS[arguments.backend].device
    tried = {
        n: in_fresh_process(None, notebook_run, piece, n, device)
        for n in arguments.loader_workers
    }  # fmt: skip
    num_workers = max(tried, key=lambda n: tried[n].rate)
    rates = ", ".join(f"{run.rate:,.0f} with {n}" for n, run in tried.items())
    print(f"\n{step}: the notebook's images/s by DataLoader workers: {rates}; compared with {num_workers}")
    print("turn  notebook images/s  engine images/s  ratio  warm-up s: notebook, engine")
    turns: list[dict[str, object]] = []
    ratios, slow, fast = [], [], []
    for turn in range(1, arguments.repeats + 1):
        theirs = in_fresh_process(None, notebook_run, piece, num_workers, device)
        runs = engine_runs(engine_piece, arguments.workers, arguments.backend)
        ours = together(runs)
        ratios.append(ours.rate / theirs.rate)
        slow.append(theirs.rate)
        fast.append(ours.rate)
        print(
            f"{turn:4} {theirs.rate:18,.0f} {ours.rate:16,.0f} {ratios[-1]:6.2f} "
            f"{theirs.warm_up:20.2f}, {ours.warm_up:.2f}",
            flush=True,
        )
        turns.append({"ratio": ratios[-1], "notebook": asdict(theirs), "engine": [asdict(run) for run in runs]})
    result: dict[str, object] = {
        "step": step,
        "loader_workers": num_workers,
        "loader_workers_tried": {n: run.rate for n, run in tried.items()},
        "notebook_rate": statistics.median(slow),
        "engine_rate": statistics.median(fast),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "turns": turns,
    }
    print(
        f"median {statistics.median(slow):16,.0f} {statistics.median(fast):16,.0f} "
        f"{statistics.median(ratios):6.2f}  (ratio {min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", default=["a-runs/5", "b-cyclic/5", "d-rotation/5"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=12_800, help="of an epoch; 60000 are all of MNIST")
    parser.add_argument("--engine-epochs", type=int, default=2, help="the notebook trains one")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes of the engine; default: cores"
    )
    parser.add_argument("--loader-workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--backend", choices=BACKENDS, default="default", help="what trains in the engine")
    add_shared_options(parser)
    arguments = parser.parse_args()
    with one_sentence():
        resolved = find_mnist(arguments.data)
        for step in arguments.steps:
            named_step(step)
        threads = max(1, usable_cores() // arguments.workers)
        print(
            f"notebook: 1 process, {usable_cores()} threads, 1 epoch of {arguments.images:,} images; engine: "
            f"{arguments.workers} processes, threads each: {threads}, epochs each: {arguments.engine_epochs}"
        )
        settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("data", "out")}
        steps: list[dict[str, object]] = []
        for step in arguments.steps:
            steps.append(compare(arguments, step, resolved))
            write_json(arguments.out, {"settings": settings, "versions": versions(), "steps": steps})
    return 0


if __name__ == "__main__":
    sys.exit(main())
