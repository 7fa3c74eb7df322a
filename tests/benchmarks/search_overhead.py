"""What a search takes beside training: sampler, pruner, storage and display, by the size of the study.

The search itself runs (`search.engine.run_search.search`, with the panel of a terminal, SQLite or --storage,
TPE held to the budget, the forecast pruner); only the training is made up: 15 epochs of a random rising
curve, at no cost.
Studies are filled with random points that fit the budget and curves of that kind, half of them pruned, up to
each size. Then one trial is asked for that is not counted (its sampler reads all others, as when a search
goes on), and the next `--measured` trials are timed.

Prints the mean ms of a trial by part (all epochs of it together), and the share of the machine's time, which
assumes that training takes `--trial-seconds` of one core for all epochs, less for a pruned trial, and that
nothing else waits meanwhile. "cpu" is how much of the sum this process computed: it leaves out waiting for the
disk and for other work on the machine. "main busy" is how much of its time the one process that asks and tells
is at work while `--workers` cores train: at 100 % it would be the limit. "first" is the time of the first trial
once the study is open. "pages" is what writing the dashboard's notes and figures took, once; a search does that as
rarely as it takes to spend a hundredth of its time on it, so it is not in the sum.

    python tests/benchmarks/search_overhead.py [--sizes 10 100 1000 5000] [--measured 20] [--budget 10000]
        [--trial-seconds 40] [--folder DIR | --storage URL] [--out FILE.json]
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import itertools
import json
import math
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import optuna
from bench import add_shared_options, one_sentence, versions, write_json
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from sqlalchemy import insert

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import usable_cores
from drill_models.result import EpochRecord
from drill_models.step import Recipe
from search.commands.attached import Exporting, Publishing
from search.config import DEFAULT_EPOCHS, SearchConfig, TrainingOptions
from search.console.console import Screen
from search.console.progress import SearchDisplay
from search.engine.events import Opened
from search.engine.observers import Observers
from search.engine.run_search import search
from search.executors.base import InProcess
from search.pruning.pruners import is_hopeless
from search.report.dashboard import Publisher, publish
from search.sampling.budget import BudgetSampler, base_sampler
from search.schema import attributes as attrs
from search.storage.storage import open_storage
from search.storage.url import parse
from search.study.constraints import with_constraints
from search.study.trials import pack_curve, tally, value_of
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

R = TypeVar("R")

STUDY = "overhead"
PARTS = ("ask", "report", "prune", "attributes", "tell", "display", "rest")
TRAINING, PAGES = "training", "pages"
AT_ONCE = 500
"""Made-up trials that are stored in one transaction."""


class Clock:
    """Seconds by part; what a part calls that is a part itself counts there only."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.cpu_of_pages = 0.0
        self._inner = [0.0]

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what runs within it."""
        started, cpu = time.perf_counter(), time.process_time()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            if name == PAGES:
                self.cpu_of_pages += time.process_time() - cpu
            self.spent[name] += whole - self._inner.pop()
            self._inner[-1] += whole

    def timed(self, name: str, function: Callable[..., R]) -> Callable[..., R]:
        """The function, counted as a part."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def __enter__(self) -> "Clock":
        """Times what the runner calls, and puts made-up training in the place of the real one."""
        self._patches = contextlib.ExitStack()
        for owner, method, part in (
            (optuna.Study, "ask", "ask"),
            (optuna.Study, "tell", "tell"),
            (optuna.Trial, "report", "report"),
            (optuna.Trial, "set_user_attr", "attributes"),
            (optuna.Trial, "set_constraint", "attributes"),
            (Publisher, "refresh", PAGES),
        ):
            patched = mock.patch.object(owner, method, self.timed(part, getattr(owner, method)))
            self._patches.enter_context(patched)
        asking = mock.patch("search.engine.trial_loop.is_hopeless", self.timed("prune", is_hopeless))
        self._patches.enter_context(asking)
        self._patches.enter_context(mock.patch("search.executors.machines.open_executor", self.executor))
        return self

    def __exit__(self, *exception: object) -> None:
        self._patches.close()

    @contextlib.contextmanager
    def executor(
        self, data: ResidentData, backend: Backend, workers: int, should_stop: Callable[[], bool]
    ) -> Iterator[InProcess]:
        """Stands for `search.executors.base.open_executor`: one trial at a time, in this process."""
        yield InProcess(data, backend, should_stop, trainer=self.train)

    def train(self, recipe: Recipe, data: object, *, seed: int, **others: object) -> Iterator[EpochRecord]:
        """Stands for `drill_models.train.train`."""
        records = iter(curve(recipe.training.epochs, random.Random(seed)))
        while True:
            with self.part(TRAINING):
                record = next(records, None)
            if record is None:
                return
            yield record


class TimedDisplay(SearchDisplay):
    """The display, timed, that notes when trials end."""

    def __init__(self, clock: Clock, screen: Screen, *, trials: int) -> None:
        super().__init__(screen, trials=trials, epochs=DEFAULT_EPOCHS, target=0.994)
        self._clock = clock
        self.ends: list[float] = []
        self.cpu: list[float] = []
        self.spent: list[dict[str, float]] = []
        self.trials: list[FrozenTrial] = []

    def _note(self) -> None:
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time() - self._clock.cpu_of_pages)
        self.spent.append(dict(self._clock.spent))

    def opened(self, opened: Opened) -> None:
        super().opened(opened)
        self._note()

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        with self._clock.part("display"):
            super().started(trial, n_params, epochs)

    def epoch(self, number: int, record: EpochRecord) -> None:
        with self._clock.part("display"):
            super().epoch(number, record)

    def ended(self, trial: FrozenTrial) -> None:
        with self._clock.part("display"):
            super().ended(trial)
        self.trials.append(trial)
        self._note()


def curve(epochs: int, rng: random.Random) -> list[EpochRecord]:
    """An error that falls from a half to a random end, with noise."""
    end, speed = 0.006 * math.exp(rng.gauss(0, 0.8)), rng.uniform(0.6, 2.0)
    records = []
    for epoch in range(1, epochs + 1):
        error = (end + 0.5 * math.exp(-epoch / speed)) * math.exp(rng.gauss(0, 0.1))
        right = round(max(0.0, 1 - error), 6)
        records.append(
            EpochRecord(
                epoch=epoch,
                lr=0.1,
                train_loss=round(3 * error, 6),
                train_accuracy=right,
                val_loss=round(3 * error, 6),
                val_accuracy=right,
                seconds=2.5,
            )
        )
    return records


def finished_trials(space: DrillSpace, budget: Budget, rng: random.Random) -> Iterator[FrozenTrial]:
    """Trials as a search leaves them behind, one after the other for ever; half of them pruned."""
    sampler = BudgetSampler(base_sampler("random", rng.randrange(2**31)), BudgetedSpace(space, budget))
    study = optuna.create_study(sampler=sampler)
    for number in itertools.count():
        point = study.ask(dict(space.distributions)).params
        pruned = rng.random() < 0.5
        records = curve(DEFAULT_EPOCHS, rng)[: rng.randint(5, 10) if pruned else DEFAULT_EPOCHS]
        excess = budget.excess(space.model(point))
        yield optuna.create_trial(
            state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            value=records[-1].val_accuracy if pruned else value_of(records),
            params=point,
            distributions=dict(space.distributions),
            intermediate_values={record.epoch: record.val_accuracy for record in records},
            user_attrs={
                attrs.SEED: number,
                attrs.EPOCHS: DEFAULT_EPOCHS,
                attrs.N_PARAMS: excess["n_params"] + budget.max_params,
                attrs.CURVE: pack_curve(records),
                attrs.ENVIRONMENT: {"device": "cpu", "threads": 1, "torch": "2"},
            },
            system_attrs=with_constraints(excess),
        )


def sitting(config: SearchConfig, clock: Clock, trials: int) -> TimedDisplay:
    """Runs the search until the study has so many trials; its display says what happened when."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with TimedDisplay(clock, Screen(out=console), trials=trials) as display:
        config = dataclasses.replace(config, trials=trials)
        search(config, Observers(display, Exporting(config), Publishing(display.notice)), lambda: False)
    if TRAINING not in clock.spent:
        raise SystemExit("the search did not train by the executor that is made up here; nothing is timed")
    return display


def measure(config: SearchConfig, size: int, measured: int, trial_seconds: float, workers: int) -> dict[str, Any]:
    """Times so many trials of a study that has `size`."""
    with Clock() as clock:
        display = sitting(config, clock, size + 1 + measured)
    opened, first, last = display.ends[0], display.ends[1], display.ends[-1]
    before, after = display.spent[1], display.spent[-1]
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    trials = display.trials[1:]
    epochs = sum(len(trial.intermediate_values) for trial in trials) / len(trials)
    pages = spent.pop(PAGES, 0.0)
    whole = (last - first) - spent.pop(TRAINING) - pages
    parts = {name: spent.get(name, 0.0) for name in PARTS}
    parts["rest"] = whole - sum(spent.values())
    overhead = whole / len(trials)
    training = trial_seconds * epochs / config.epochs
    return {
        "size": size,
        "first_ms": 1000 * (first - opened),
        "parts_ms": {name: 1000 * seconds / len(trials) for name, seconds in parts.items()},
        "sum_ms": 1000 * overhead,
        "pages_ms": 1000 * pages,
        "cpu_ms": 1000 * (display.cpu[-1] - display.cpu[1]) / len(trials),
        "epochs": epochs,
        "pruned": sum(trial.state == TrialState.PRUNED for trial in trials),
        "measured": len(trials),
        "share": overhead / (overhead + training),
        "main_busy": min(1.0, workers * overhead / (overhead + training)),
    }


def fill(config: SearchConfig, trials: Iterator[FrozenTrial], size: int) -> int:
    """Adds finished trials to the study until it has `size`, or leaves it where it has more; returns how many."""
    storage = open_storage(parse(str(config.storage)), create=True)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    present = tally(study).trained
    for _ in range(present, size, AT_ONCE):
        add_at_once(storage, study, list(itertools.islice(trials, min(AT_ONCE, size - tally(study).trained))))
    publish(study, parse(str(config.storage)))
    storage.engine.dispose()
    return max(size, present)


def add_at_once(storage: RDBStorage, study: optuna.Study, trials: list[FrozenTrial]) -> None:
    """Stores finished trials in one transaction: `Study.add_trials` takes 40 ms for each."""
    first = len(study.get_trials(deepcopy=False))
    with storage.scoped_session() as session:
        rows = [
            models.TrialModel(
                study_id=study._study_id,
                number=number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for number, trial in enumerate(trials, first)
        ]
        session.add_all(rows)
        session.flush()
        children: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row, trial in zip(rows, trials, strict=True):
            for model, found in rows_of(trial):
                children[model].append({"trial_id": row.trial_id, **found})
        for model, these in children.items():
            session.execute(insert(model), these)
        session.commit()


def rows_of(trial: FrozenTrial) -> Iterator[tuple[Any, dict[str, Any]]]:
    """What Optuna 5 stores of a finished trial beside the trial itself: the table, and a row of it."""
    for objective, value in enumerate(trial.values or ()):
        number, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield models.TrialValueModel, {"objective": objective, "value": number, "value_type": kind}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield (
            models.TrialParamModel,
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": distribution_to_json(distribution),
            },
        )
    for model, attributes in (
        (models.TrialUserAttributeModel, trial.user_attrs),
        (models.TrialSystemAttributeModel, trial.system_attrs),
    ):
        for key, value in attributes.items():
            yield model, {"key": key, "value_json": json.dumps(value)}
    for step, value in trial.intermediate_values.items():
        stored, type_ = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        yield (
            models.TrialIntermediateValueModel,
            {"step": step, "intermediate_value": stored, "intermediate_value_type": type_},
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 5000], help="rising")
    parser.add_argument("--measured", type=int, default=20, help="trials that are timed at each size")
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--trial-seconds", type=float, default=40, help="of one core, for all epochs")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="trials that train at the same time")
    parser.add_argument("--folder", type=Path, help="where the database lies; default: a temporary folder")
    parser.add_argument("--storage", help="URL of an empty database, in place of a SQLite file")
    add_shared_options(parser)
    arguments = parser.parse_args()
    out = arguments.out.absolute() if arguments.out is not None else None
    with one_sentence(), tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        with contextlib.chdir(folder):  # a search leaves files below ./studies
            run(arguments, Path.cwd(), out)
    return 0


def run(arguments: argparse.Namespace, folder: Path, out: Path | None) -> None:
    """Measures each size and prints its row."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    budget = Budget(max_params=arguments.budget)
    skeletons = load_skeletons()
    config = SearchConfig(
        budget=budget,
        skeletons=skeletons,
        dataset="mnist-5k",
        training=TrainingOptions(offline=True, device="cpu", workers=1),
        baselines=("none",),
        storage=arguments.storage or f"sqlite:///{folder}/overhead.db",
        study=STUDY,
        out=folder / "best.yaml",
    )
    with Clock() as clock:
        sitting(config, clock, 1)  # makes the study
    trials = finished_trials(DrillSpace(skeletons), budget, random.Random(0))
    print(
        f"ms of a trial by part, {arguments.measured} trials each; share of wall time where all epochs of a "
        f"trial train for {arguments.trial_seconds:g} s"
    )
    print(
        "trials  "
        + "".join(f"{part:>11}" for part in PARTS)
        + "     sum     cpu  share  main busy  epochs  pruned  first  pages"
    )
    rows: list[dict[str, Any]] = []
    for size in sorted(arguments.sizes):
        filled = fill(config, trials, size)
        row = measure(config, filled, arguments.measured, arguments.trial_seconds, arguments.workers)
        rows.append(row)
        print(
            f"{filled:6,}  "
            + "".join(f"{row['parts_ms'][part]:11.1f}" for part in PARTS)
            + f"{row['sum_ms']:8.1f} {row['cpu_ms']:7.1f} {row['share']:6.2%} "
            f"{row['main_busy']:10.2%} {row['epochs']:7.1f} {row['pruned']:4}/{row['measured']} "
            f"{row['first_ms']:6.0f} {row['pages_ms']:6.0f}",
            flush=True,
        )
        settings = {"budget": arguments.budget, "trial_seconds": arguments.trial_seconds}
        write_json(out, {"settings": settings, "versions": versions(), "sizes": rows})


if __name__ == "__main__":
    sys.exit(main())
