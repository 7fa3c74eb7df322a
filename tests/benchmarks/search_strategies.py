"""Search strategies side by side, judged by real trainings.

A search is what `drill-search` does. Warm-start configurations come first, where they are wanted. Then come
trials that the strategy proposes and the pruner may stop. The best five train again with two other seeds, and the
best mean wins. The winner then trains with three fresh seeds; strategies are compared by their mean validation
accuracy. Every warm-start configuration trains with the same fresh seeds, once a setting. The test images are not
read.

A search is a line of `--out` (JSON lines) when it ends. So the same command goes on where it was stopped, and may
be given more seeds or settings. `--table` prints what is there, and trains nothing.

    python tests/benchmarks/search_strategies.py --out FILE.jsonl --dataset fashion-mnist --budget 1000
        [--strategies random tpe local mix] [--seeds 5] [--trials 60] [--subset 10000] [--epochs 15] [--no-starts]
        [--processes 2] [--data DIR]
    python tests/benchmarks/search_strategies.py --out FILE.jsonl --table
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import optuna
import torch
from bench import one_sentence, versions
from optuna.trial import FrozenTrial

from drill_models.backend import Backend
from drill_models.data import ResidentData, validation_data
from drill_models.datasets import DatasetName
from drill_models.resolve import DataSource, resolve
from drill_models.result import EpochRecord
from drill_models.run import run
from drill_models.starting_points import all_starts
from drill_models.step import Recipe
from search.config import SearchConfig
from search.context import RunContext
from search.engine.finalists import default_finalists, evaluated, next_finalists, train_again
from search.engine.job import Job
from search.engine.proposals import make_sampler
from search.engine.trial_loop import run_trials
from search.engine.warm_start import seed_starts
from search.executors.base import InProcess
from search.pruning.pruners import make_pruner
from search.schema import attributes as attrs
from search.study.ranking import keep_finalists, ranked
from search.study.trials import recipe_of, tally
from spaces.budget import Budget
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

STRATEGIES = {"random": ("random", 0.0), "tpe": ("tpe", 0.0), "local": ("local", 1.0), "mix": ("local", 0.8)}
"""The sampler of each, and the share of local search in it."""

FRESH_SEED, FRESH = 900_000_000, 3
"""The first of the seeds that no search trains with, and how many there are."""

OTHER_SEEDS = 2
"""Seeds that the best of a search train with again."""

COLUMNS = (
    "strategy",
    "searches",
    "winner, mean of 3 fresh seeds",
    "above best warm start",
    "sampled",
    "epochs",
    "against tpe",
)

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What strategies are compared on."""

    dataset: DatasetName
    subset: int
    budget: int
    trials: int
    epochs: int
    starts: bool
    pruner: str = "forecast"


def load(setting: Setting, folder: Path | None) -> ResidentData:
    """The first `subset` training images, in an order of their own, and all validation images."""
    data = validation_data(resolve(setting.dataset, DataSource(folder=folder, offline=True)))
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: setting.subset]
    return ResidentData(
        name=data.name, train=data.train[chosen], held_out=data.held_out, mean=data.mean, std=data.std
    )


class Quiet:
    """Counts the epochs of a search."""

    epochs = 0

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None: ...

    def epoch(self, number: int, record: EpochRecord) -> None:
        self.epochs += 1

    def ended(self, trial: FrozenTrial) -> None: ...

    def lost(self, trial: FrozenTrial | None, reason: str) -> None: ...


def fresh_mean(recipe: Recipe, data: ResidentData) -> float:
    """Mean over the fresh seeds."""
    backend = Backend()
    values = [run(recipe, data, full=False, seed=FRESH_SEED + i, backend=backend).value for i in range(FRESH)]
    return statistics.mean(values)


def search(setting: Setting, strategy: str, seed: int, folder: Path | None) -> Record:
    """One search, and its winner with fresh seeds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    began = time.monotonic()
    data = load(setting, folder)
    sampler, share = STRATEGIES[strategy]
    skeletons, budget = load_skeletons(), Budget(max_params=setting.budget)
    config = SearchConfig(budget=budget, skeletons=skeletons, sampler=sampler, seed=seed)  # type: ignore[arg-type]
    space = DrillSpace(skeletons)
    study = optuna.create_study(
        direction="maximize",
        sampler=make_sampler(config, space, lambda: False, share=share),
        pruner=make_pruner(setting.pruner, setting.epochs),  # type: ignore[arg-type]
    )
    if setting.starts:
        seed_starts(study, all_starts(), space, [budget])
    # Seeds of trials in different searches do not overlap.
    first = 100_000 * seed
    job = Job(study=study, space=space, budget=budget, epochs=setting.epochs, trials=setting.trials, seed=first)
    watcher, context = Quiet(), RunContext(lambda: False, lambda _: None)
    executor = InProcess(data, Backend(), context.should_stop)
    run_trials(job, executor, watcher, context)
    searched = watcher.epochs
    top = next_finalists(study, default_finalists(setting.trials) or 2, OTHER_SEEDS)
    for _ in train_again(study, top, space, seeds=OTHER_SEEDS, executor=executor, context=context):
        watcher.epochs += setting.epochs
    keep_finalists(study, evaluated(study, OTHER_SEEDS), len(top), OTHER_SEEDS)
    winner, counts = ranked(study)[0], tally(study)
    return {
        "kind": "search",
        **asdict(setting),
        "strategy": strategy,
        "seed": seed,
        "winner": fresh_mean(recipe_of(winner, space, setting.epochs), data),
        "sampled": attrs.START not in winner.user_attrs and attrs.BASELINE not in winner.user_attrs,
        "number": winner.number,
        "n_params": winner.user_attrs[attrs.N_PARAMS],
        "point": winner.params,
        "epochs_of_trials": searched,
        "epochs_in_all": watcher.epochs,
        "complete": counts.complete,
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
    }


def reference(setting: Setting, folder: Path | None) -> Record:
    """Every warm-start configuration, scaled to the budget, with the fresh seeds."""
    torch.set_num_threads(1)
    data, space = load(setting, folder), DrillSpace(load_skeletons())
    study = optuna.create_study()
    seed_starts(study, all_starts(), space, [Budget(max_params=setting.budget)])
    means = {
        trial.user_attrs[attrs.START]: fresh_mean(
            space.decode(trial.system_attrs["fixed_params"], epochs=setting.epochs), data
        )
        for trial in study.get_trials()
    }
    return {"kind": "reference", **asdict(setting), "strategy": "", "seed": 0, "means": means}


def key(record: Record) -> tuple[Any, ...]:
    """What tells a record from others."""
    names = ("kind", *Setting.__dataclass_fields__, "strategy", "seed")
    # The warm starts are the same in searches with and without them, whatever is searched.
    mine = {**record, "starts": True, "trials": 0, "pruner": ""} if record["kind"] == "reference" else record
    return tuple(mine[name] for name in names)


def known(path: Path) -> list[Record]:
    """What was measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wanted(setting: Setting, strategies: Sequence[str], seeds: Iterable[int]) -> Iterator[Record]:
    """What is to be measured, seed by seed, so that strategies stay level."""
    yield {"kind": "reference", **asdict(setting), "strategy": "", "seed": 0}
    for seed in seeds:
        for strategy in strategies:
            yield {"kind": "search", **asdict(setting), "strategy": strategy, "seed": seed}


def measure(wants: Record, folder: Path | None) -> Record:
    """One record, in a process of its own."""
    setting = Setting(**{name: wants[name] for name in Setting.__dataclass_fields__})
    if wants["kind"] == "reference":
        return reference(setting, folder)
    return search(setting, wants["strategy"], wants["seed"], folder)


def paired(mine: dict[int, float], theirs: dict[int, float]) -> str:
    """The mean difference over common seeds in percentage points, and the two-sided p of a paired t-test."""
    seeds = sorted(mine.keys() & theirs.keys())
    differences = [100 * (mine[seed] - theirs[seed]) for seed in seeds]
    if len(differences) < 2 or statistics.stdev(differences) == 0:
        return "-"
    from scipy.stats import ttest_1samp

    return f"{statistics.mean(differences):+.2f} (p {ttest_1samp(differences, 0).pvalue:.3f})"


def table(records: Sequence[Record]) -> None:
    """Prints a table a setting."""
    searches = [record for record in records if record["kind"] == "search"]
    settings = dict.fromkeys(tuple(record[name] for name in Setting.__dataclass_fields__) for record in searches)
    for values in settings:
        setting = Setting(**dict(zip(Setting.__dataclass_fields__, values, strict=True)))
        mine = [r for r in searches if all(r[n] == v for n, v in asdict(setting).items())]
        wanted_key = key({"kind": "reference", **asdict(setting), "strategy": "", "seed": 0})
        found = [record for record in records if key(record) == wanted_key]
        best = max(found[0]["means"].values()) if found else math.nan
        start = "with" if setting.starts else "without"
        print(
            f"\n{setting.dataset}, {setting.subset:,} images, {setting.budget:,} parameters, "
            f"{setting.trials} trials, {start} warm starts; best warm start {best:.2%}"
        )
        print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
        tpe = {r["seed"]: r["winner"] for r in mine if r["strategy"] == "tpe"}
        for strategy in STRATEGIES:
            of = [r for r in mine if r["strategy"] == strategy]
            if not of:
                continue
            won = {record["seed"]: record["winner"] for record in of}
            mean, sampled = statistics.mean(won.values()), sum(record["sampled"] for record in of)
            cells = (
                strategy,
                str(len(of)),
                f"{mean:.2%}",
                f"{100 * (mean - best):+.2f}",
                f"{sampled} of {len(of)}",
                f"{statistics.mean(record['epochs_in_all'] for record in of):.0f}",
                "" if strategy == "tpe" else paired(won, tpe),
            )
            print("| " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to add to")
    parser.add_argument("--table", action="store_true", help="print what is there and train nothing")
    parser.add_argument("--dataset", default="fashion-mnist", choices=get_args(DatasetName))
    parser.add_argument(
        "--data", type=Path, help="folder of the data sets; else DRILL_DATA, else the user's cache"
    )
    parser.add_argument("--subset", type=int, default=10_000, help="training images")
    parser.add_argument("--budget", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--no-starts", action="store_true", help="no warm-start configurations")
    parser.add_argument("--pruner", default="forecast")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=5, help="searches of each strategy")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.table:
        setting = Setting(
            dataset=arguments.dataset,
            subset=arguments.subset,
            budget=arguments.budget,
            trials=arguments.trials,
            epochs=arguments.epochs,
            starts=not arguments.no_starts,
            pruner=arguments.pruner,
        )
        there = {key(record) for record in known(arguments.out)}
        left = [w for w in wanted(setting, arguments.strategies, range(arguments.seeds)) if key(w) not in there]
        with one_sentence(), ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(measure, wants, arguments.data) for wants in left]):
                record = future.result()
                with arguments.out.open("a") as out:
                    out.write(json.dumps(record) + "\n")
                print(record["strategy"] or record["kind"], record["seed"], record.get("winner"), flush=True)
    table(known(arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
