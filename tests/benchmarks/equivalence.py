"""Whether two backends train to the same accuracy: own kernels, PyTorch's layers, bfloat16.

Trains each step with each backend from several seeds on all training images, with the test set held out,
for its published epochs. A run's figure is its mean accuracy of the last five epochs. As many trainings as
the machine has cores run side by side, one thread each. Prints each run's figure, means and standard
deviations, the difference of the means with its 95 % confidence interval, and Welch's t-test.

The verdict is "within 0.03 points" where the means differ by at most that, else "not significant" where
p is at least 0.05, else "differs". "Not significant" says little with few seeds: look at the interval.

Each finished training is a line of `--lines FILE`, so that the same command goes on where it stopped; lines
of other images, epochs, data or versions of PyTorch are left alone and not used.

    python tests/benchmarks/equivalence.py [--backends native torch] [--steps b-cyclic/5 e-codes/4] [--seeds 5]
        [--images N] [--epochs N] [--lines FILE.jsonl] [--out FILE.json]
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench import (
    BACKENDS,
    add_shared_options,
    find_mnist,
    fresh_environment,
    named_step,
    one_sentence,
    versions,
    write_json,
)
from scipy import stats

from drill_models.data import full_data
from drill_models.device import keep_freed_memory, usable_cores
from drill_models.errors import DrillError
from drill_models.json_lines import append_line, read_lines
from drill_models.resolve import Resolved
from drill_models.train import Diverged, train

LAST, NEAR, SIGNIFICANT = 5, 0.0003, 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        step: Name of the hand step.
        backend: What trains, by its name in `bench.BACKENDS`.
        seed: Of the training.
        images: Training images used, or None for all.
        epochs: Or None for the step's own.
        dataset: Where the images come from.
        torch: Version.
    """

    step: str
    backend: str
    seed: int
    images: int | None
    epochs: int | None
    dataset: str
    torch: str


def prepare() -> None:
    """Sets a process up as the engine does with its own."""
    torch.set_num_threads(1)
    keep_freed_memory()


def run(case: Case, resolved: Resolved) -> dict[str, Any]:
    """Trains once; a run that diverged counts with the accuracies it had, or with zero."""
    data = full_data(resolved)
    if case.images is not None:
        data = replace(data, train=data.train[torch.arange(min(case.images, len(data.train)))])
    recipe = named_step(case.step).recipe
    if case.epochs is not None:
        training = recipe.training.model_copy(update={"epochs": case.epochs})
        recipe = recipe.model_copy(update={"training": training})
    began = time.monotonic()
    accuracies: list[float] = []
    diverged = False
    try:
        for record in train(recipe, data, seed=case.seed, backend=BACKENDS[case.backend]):
            accuracies.append(record.val_accuracy)
    except Diverged:
        diverged = True
    return {
        "case": asdict(case),
        "accuracies": accuracies,
        "value": statistics.mean(accuracies[-LAST:] or [0.0]),
        "diverged": diverged,
        "seconds": round(time.monotonic() - began, 1),
    }


def finished(path: Path | None) -> list[dict[str, Any]]:
    """The lines of earlier sittings; one that was cut off while it was written is dropped."""
    found: list[dict[str, Any]] = []
    for line in [] if path is None else read_lines(path):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def verdict(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Compares two sets of runs: difference of means (second less first), interval, p, and a word on it."""
    difference = statistics.mean(second) - statistics.mean(first)
    p = low = high = math.nan
    if min(len(first), len(second)) > 1 and (statistics.variance(first) or statistics.variance(second)):
        test = stats.ttest_ind(second, first, equal_var=False)
        interval = test.confidence_interval(0.95)
        p, low, high = float(test.pvalue), float(interval.low), float(interval.high)
    if abs(difference) <= NEAR + 1e-12:
        word = f"within {100 * NEAR:.2f} points"
    elif p >= SIGNIFICANT:
        word = "not significant"
    else:
        word = "differs" if p < SIGNIFICANT else "too few runs"
    return {"difference": difference, "low": low, "high": high, "p": p, "verdict": word}


def train_all(arguments: argparse.Namespace, cases: list[Case], resolved: Resolved) -> dict[Case, dict[str, Any]]:
    """The result of each case, from earlier sittings or trained now."""
    wanted = set(cases)
    done: dict[Case, dict[str, Any]] = {}
    for line in finished(arguments.lines):
        case = Case(**line["case"])
        if case in wanted:
            done[case] = line
    left = [case for case in cases if case not in done]
    print(
        f"{len(cases)} trainings, {len(done)} of them from earlier; {arguments.workers} side by side", flush=True
    )
    spawn = multiprocessing.get_context("spawn")
    with fresh_environment(1), ProcessPoolExecutor(arguments.workers, spawn, initializer=prepare) as pool:
        waiting = {pool.submit(run, case, resolved): case for case in left}
        try:
            for future in as_completed(waiting):
                case, line = waiting[future], future.result()
                if arguments.lines is not None:
                    append_line(arguments.lines, json.dumps(line))
                done[case] = line
                print(
                    f"[{len(done)}/{len(cases)}] {case.step} {case.backend} seed {case.seed}: "
                    f"{line['value']:.3%} in {line['seconds']:.0f} s{', diverged' if line['diverged'] else ''}",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", default=["b-cyclic/5", "e-codes/4"])
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, default=["native", "torch"], help="one or two names"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, help="train on so many only")
    parser.add_argument("--epochs", type=int, help="instead of each step's own")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="trainings side by side; default: cores"
    )
    parser.add_argument("--lines", type=Path, help="file of finished trainings, to go on with")
    add_shared_options(parser)
    arguments = parser.parse_args()
    with one_sentence():
        if not 1 <= len(set(arguments.backends)) == len(arguments.backends) <= 2:
            raise DrillError("--backends takes one name or two different ones")
        resolved = find_mnist(arguments.data)
        here = {
            "images": arguments.images,
            "epochs": arguments.epochs,
            "dataset": resolved.facts.name,
            "torch": torch.__version__,
        }
        for step in arguments.steps:
            named_step(step)
        cases = {
            (step, name, seed): Case(step=step, backend=name, seed=seed, **here)
            for step in arguments.steps
            for seed in range(arguments.seeds)
            for name in arguments.backends
        }
        lines = train_all(arguments, list(cases.values()), resolved)
    rows: list[dict[str, Any]] = []
    print(f"\nmean test accuracy (%) of the last {LAST} epochs, seeds 0 to {arguments.seeds - 1}")
    for step in arguments.steps:
        values = {
            name: [lines[cases[step, name, seed]]["value"] for seed in range(arguments.seeds)]
            for name in arguments.backends
        }
        for name, runs in values.items():
            spread = statistics.stdev(runs) if len(runs) > 1 else math.nan
            print(
                f"{step:12} {name:8} {' '.join(f'{100 * run:6.3f}' for run in runs)}   "
                f"mean {100 * statistics.mean(runs):.3f}  sd {100 * spread:.3f}"
            )
        row: dict[str, Any] = {"step": step, "values": values}
        if len(values) == 2:
            row |= verdict(*values.values())
            print(
                f"{step:12} {' - '.join(reversed(values))}: {100 * row['difference']:+.3f} points "
                f"({100 * row['low']:+.3f} to {100 * row['high']:+.3f}), p = {row['p']:.2f}: {row['verdict']}"
            )
        rows.append(row)
    write_json(
        arguments.out, {"settings": here | {"seeds": arguments.seeds}, "versions": versions(), "steps": rows}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
