"""Replays pruners on recorded curves: epochs saved, against the chance of stopping the best.

    python tests/benchmarks/pruners.py --curves tests/benchmarks/curves-3000.json --part test --out pruners.json

Every curve ran to its end, so it is known what a pruner would have stopped. A replay is a search in small: it
draws four in five of the curves and lets them come one at a time; the pruner is asked after each epoch, as the
runner asks it. In the order of a search hand steps and starting points come first, the others at random; in
random order nothing good needs to be there when the pruner begins, which is harder. A row a pruner, for each
order: share of epochs saved; in how many of the replays the best curve of the draw was stopped; how much worse
the best that ran to its end was, in points of validation accuracy, on average and at most. Replays overlap:
above the table stands how many different curves were the best of one. Every other curve is for tuning
(`--part tune`), the rest for this table (`--part test`). With `--drawn`, hand steps and starting points are left
out: what a pruner does where nothing but the sampler's own draws sets the standard.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from bench import one_sentence, versions, write_json
from optuna.distributions import CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from drill_models.errors import DrillError
from drill_models.result import EpochRecord
from search.names import PRUNER_NAMES
from search.pruning.pruners import ForecastPruner, is_hopeless, make_pruner
from search.schema import attributes as attrs
from search.study.trials import pack_curve

SHARE = 0.8
"""Of the curves that a replay draws."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One run that was not stopped.

    Attributes:
        kind: Of its learning-rate schedule.
        n_params: Of its network.
        baseline: The hand step that it is, or None.
        start: Whether it is a starting point.
        value: What it ended with: mean validation accuracy of its last three epochs.
        records: Its epochs; of the figures, held-out accuracy and loss and training loss are real.
    """

    kind: str
    n_params: int
    baseline: str | None
    start: bool
    value: float
    records: tuple[EpochRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a pruner did.

    Attributes:
        saved: Share of epochs that were not trained.
        lost: Whether the best curve was stopped.
        regret: By how much the best that ran to its end is worse than the best, a fraction.
    """

    saved: float
    lost: bool
    regret: float


def read_curves(path: Path) -> list[Recorded]:
    """The runs of a file of `record_curves.py`.

    Raises:
        DrillError: It cannot be read.
    """
    try:
        trials: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["trials"]
    except (OSError, ValueError, KeyError) as error:
        raise DrillError(f"{path} is no file of record_curves.py") from error
    return [
        Recorded(
            kind=trial["point"]["schedule"],
            n_params=trial["n_params"],
            baseline=trial["baseline"],
            start=trial["start"] is not None,
            value=trial["value"],
            records=tuple(
                EpochRecord(
                    epoch=epoch,
                    lr=0,
                    train_loss=train_loss,
                    train_accuracy=0,
                    val_loss=loss,
                    val_accuracy=accuracy,
                    seconds=0,
                )
                for epoch, (accuracy, loss, train_loss) in enumerate(
                    zip(trial["accuracy"], trial["loss"], trial["train_loss"], strict=True), start=1
                )
            ),
        )
        for trial in trials
    ]


def replay(pruner: BasePruner, runs: Sequence[Recorded]) -> Replay:
    """A search in which these runs come one after the other."""
    # Hyperband's brackets hang on the study's name.
    study = optuna.create_study(
        study_name="replay", direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    kinds = CategoricalDistribution(sorted({run.kind for run in runs}))
    trained = 0
    kept: list[float] = []
    for run in runs:
        study.enqueue_trial({"schedule": run.kind})
        trial = study.ask({"schedule": kinds})
        trial.set_user_attr(attrs.N_PARAMS, run.n_params)
        trial.set_user_attr(attrs.EPOCHS, len(run.records))
        if run.baseline is not None:
            trial.set_user_attr(attrs.BASELINE, run.baseline)
        stopped = False
        for record in run.records:
            trained += 1
            trial.report(record.val_accuracy, record.epoch)
            seen = run.records[: record.epoch]
            if len(seen) < len(run.records) and is_hopeless(study, trial.number, seen):
                stopped = True
                break
        trial.set_user_attr(attrs.CURVE, pack_curve(seen))
        if stopped:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, run.value)
            kept.append(run.value)
    best = max(run.value for run in runs)
    whole = sum(len(run.records) for run in runs)
    return Replay(saved=1 - trained / whole, lost=max(kept) < best, regret=best - max(kept))


def draw(runs: Sequence[Recorded], rng: random.Random, order: str) -> list[Recorded]:
    """Some of the runs; in the order of a search those first that it begins with."""
    chosen = rng.sample(list(runs), round(SHARE * len(runs)))
    return chosen if order == "random" else sorted(chosen, key=lambda run: (run.baseline is None, not run.start))


def pruners(epochs: int, slacks: Sequence[float]) -> dict[str, Callable[[], BasePruner]]:
    """What is compared: those that a search offers, and Optuna's with their own defaults."""
    found: dict[str, Callable[[], BasePruner]] = {
        name: partial(make_pruner, name, epochs) for name in PRUNER_NAMES
    }
    for slack in slacks:
        found[f"forecast, slack {slack:g}"] = partial(ForecastPruner, slack=slack)
    return found | {
        "Optuna's MedianPruner": MedianPruner,
        "Optuna's PercentilePruner(25)": partial(PercentilePruner, 25.0),
        "Optuna's SuccessiveHalvingPruner": SuccessiveHalvingPruner,
        "Optuna's HyperbandPruner": HyperbandPruner,
    }


def row(name: str, order: str, replays: Sequence[Replay]) -> dict[str, Any]:
    """A pruner's line of the table; shares and fractions."""
    return {
        "pruner": name,
        "order": order,
        "saved": statistics.mean(one.saved for one in replays),
        "lost": statistics.mean(one.lost for one in replays),
        "regret": statistics.mean(one.regret for one in replays),
        "most_regret": max(one.regret for one in replays),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path(__file__).with_name("curves-3000.json"))
    parser.add_argument("--part", choices=["tune", "test", "all"], default="test")
    parser.add_argument("--drawn", action="store_true", help="without hand steps and starting points")
    parser.add_argument("--orders", nargs="+", choices=["search", "random"], default=["search", "random"])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--slacks", type=float, nargs="*", default=[], help="of further forecast pruners")
    parser.add_argument("--only", nargs="*", help="pruners whose name begins with one of these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with one_sentence():
        runs = read_curves(arguments.curves)
        chosen = {"tune": runs[::2], "test": runs[1::2], "all": runs}[arguments.part]
        if arguments.drawn:
            chosen = [run for run in chosen if run.baseline is None and not run.start]
        if not chosen or arguments.replays < 1:
            raise DrillError("there is nothing to replay")
        epochs = max(len(run.records) for run in chosen)
        kind = "drawn curves" if arguments.drawn else "curves"
        print(
            f"{arguments.part}: {len(chosen)} {kind}, {arguments.replays} replays of {round(SHARE * len(chosen))}"
        )
        rng = random.Random(arguments.seed)
        bests = {max(run.value for run in draw(chosen, rng, "random")) for _ in range(arguments.replays)}
        print(f"{len(bests)} different best values")
        rows = []
        for order in arguments.orders:
            print(f"{order + ' order':34}  saved  lost the best  regret, points (most)")
            for name, make in pruners(epochs, arguments.slacks).items():
                if arguments.only and not name.startswith(tuple(arguments.only)):
                    continue
                rng = random.Random(arguments.seed)  # the same draws for each
                one = row(
                    name, order, [replay(make(), draw(chosen, rng, order)) for _ in range(arguments.replays)]
                )
                rows.append(one)
                regret = f"{100 * one['regret']:.4f} ({100 * one['most_regret']:.3f})"
                print(f"{name:34} {one['saved']:6.1%} {one['lost']:14.1%}  {regret}", flush=True)
        write_json(
            arguments.out,
            {"part": arguments.part, "drawn": arguments.drawn, "curves": len(chosen), "rows": rows, **versions()},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
