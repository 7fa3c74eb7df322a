"""Which sampler finds most under a budget: many searches on a model of recorded runs.

    python tests/benchmarks/samplers.py --seeds 20 --trials 60 --out samplers.json

Real training is too slow for hundreds of searches, so a forest of randomised trees learns the final validation
error from the recorded points (`record_curves.py`), and stands for training: in logarithms of the error, from
each dimension of the point, the network's layers, parameters and multiply-accumulates. How well it ranks points
that it has not seen is printed first. A trial's value has the noise of 10,000 validation images; the table shows
the model's own value of the point that the search calls its best.

Rows: plain TPE, where an oversized network is pruned as soon as it is proposed (the usual advice), and the same
with the constraint set (`Trial.set_constraint`), then `BudgetSampler` over several samplers. Columns: the best
after so many trained trials (and how many searches got so far, where some did not) and after so many proposals,
mean and standard error over the seeds; the share of proposals that were oversized and so wasted; convolution
layers of the networks in the first and last third of the proposals (plain TPE is said to drift to shallow
networks, optuna issue 2969); time of a proposal. A search is given up after ten proposals for each network that
it should train.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from bench import one_sentence, versions, write_json
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from drill_models.count import count
from drill_models.device import usable_cores
from drill_models.errors import DrillError
from drill_models.step import ConvBlock
from search.names import WrappedSamplerName
from search.pruning.forecast import log_error
from search.sampling.budget import BudgetSampler, base_sampler, max_draws
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

N_IMAGES = 10_000
"""Of the validation split, whose noise a trial's value has."""

MAX_WASTE = 10
"""So many proposals for a trained network; then a plain search is given up."""

CASES: dict[str, WrappedSamplerName | None] = {
    "plain TPE, oversized pruned": None,
    "plain TPE, with constraint": None,
    "BudgetSampler(TPE)": "tpe",
    "BudgetSampler(TPE, shown all trials)": "tpe",
    "BudgetSampler(random)": "random",
    "BudgetSampler(NSGA-II)": "nsga2",
    "BudgetSampler(CMA-ES)": "cmaes",
    "BudgetSampler(GP)": "gp",
}

Row = list[float]


class Model:
    """Stands for training: final validation accuracy of a point."""

    def __init__(self, space: DrillSpace, trials: Sequence[Mapping[str, Any]]) -> None:
        self.space = space
        self._x = np.array([self.features(trial["point"]) for trial in trials])
        self._y = np.array([log_error(trial["value"]) for trial in trials])
        self._forest = self._new().fit(self._x, self._y)

    @staticmethod
    def _new() -> ExtraTreesRegressor:
        return ExtraTreesRegressor(n_estimators=100, min_samples_leaf=2, max_features=0.5, random_state=0)

    def quality(self) -> tuple[float, float]:
        """Rank correlation and R^2 of errors that were left out, ten-fold."""
        guessed = cross_val_predict(self._new(), self._x, self._y, cv=KFold(10, shuffle=True, random_state=0))
        missed = float(((guessed - self._y) ** 2).sum() / ((self._y - self._y.mean()) ** 2).sum())
        return float(spearmanr(guessed, self._y).statistic), 1 - missed

    def features(self, point: Mapping[str, Any]) -> Row:
        """A point as numbers."""
        network = self.space.model(point)
        counted = count(network)
        row: Row = [layers(self.space, point), math.log(counted.n_params), math.log(counted.macs)]
        for name, distribution in self.space.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                row += [float(point[name] == choice) for choice in distribution.choices]
            else:
                row.append(math.log(point[name]) if getattr(distribution, "log", False) else point[name])
        return row

    def accuracy(self, point: Mapping[str, Any]) -> float:
        """What training would give, without noise."""
        return 1 - math.exp(float(self._forest.predict([self.features(point)])[0]))


def layers(space: DrillSpace, point: Mapping[str, Any]) -> int:
    """Convolution blocks of a point's network."""
    return sum(isinstance(block, ConvBlock) for block in space.model(point).blocks)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One search.

    Attributes:
        by_trained: Noiseless accuracy of the best so far, after each trained trial.
        by_proposals: Likewise after each of as many proposals.
        wasted: Share of proposals that were oversized.
        first_layers: Mean convolution layers of the first third of the proposals.
        last_layers: Likewise of the last third.
        seconds: Mean time of a proposal.
    """

    by_trained: list[float]
    by_proposals: list[float]
    wasted: float
    first_layers: float
    last_layers: float
    seconds: float


def run(case: str, model: Model, budget: Budget, trials: int, seed: int) -> Searched:
    """Searches until so many networks are trained."""
    space, name = model.space, CASES[case]
    sampler: BaseSampler = TPESampler(seed=seed)
    if name is not None:
        budgeted = BudgetedSpace(space, budget)
        base = sampler if case.endswith("shown all trials)") else base_sampler(name, seed)
        sampler = BudgetSampler(base, budgeted, max_draws=max_draws(name))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    noise = random.Random(seed)
    seen, real = 0.0, 0.0
    by_trained: list[float] = []
    by_proposals: list[float] = []
    depths: list[int] = []
    asking = 0.0
    while len(by_trained) < trials and len(depths) < MAX_WASTE * trials:
        started = time.perf_counter()
        trial = study.ask(dict(space.distributions))
        asking += time.perf_counter() - started
        depths.append(layers(space, trial.params))
        excess = budget.excess(space.model(trial.params))["n_params"]
        if case == "plain TPE, with constraint":
            trial.set_constraint("n_params", excess)
        if excess > 0:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            accuracy = model.accuracy(trial.params)
            value = accuracy + noise.gauss(0, math.sqrt(accuracy * (1 - accuracy) / N_IMAGES))
            study.tell(trial, value)
            if value > seen:
                seen, real = value, accuracy
            by_trained.append(real)
        by_proposals.append(real)
    third = max(1, len(depths) // 3)
    return Searched(
        by_trained=by_trained,
        by_proposals=by_proposals,
        wasted=1 - len(by_trained) / len(depths),
        first_layers=statistics.mean(depths[:third]),
        last_layers=statistics.mean(depths[-third:]),
        seconds=asking / len(depths),
    )


def mean_and_error(values: Sequence[float]) -> str:
    """As the table shows it, in per cent."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{100 * statistics.mean(values):.3f} +- {100 * error:.3f}"


def best_after(found: Sequence[Searched], mark: int) -> str:
    """The best after so many trained trials, of the searches that got so far."""
    values = [one.by_trained[mark - 1] for one in found if len(one.by_trained) >= mark]
    if len(values) == len(found):
        return mean_and_error(values)
    return f"{mean_and_error(values) if values else 'none'} ({len(values)} of {len(found)})"


_model: Model


def _start(curves: Path) -> None:
    global _model
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _model = Model(DrillSpace(load_skeletons()), json.loads(curves.read_text(encoding="utf-8"))["trials"])


def _one(job: tuple[str, int, int, int]) -> Searched:
    case, max_params, trials, seed = job
    return run(case, _model, Budget(max_params=max_params), trials, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path(__file__).with_name("curves-3000.json"))
    parser.add_argument("--budget", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60, help="networks to train in a search")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with one_sentence():
        try:
            _start(arguments.curves)
        except (OSError, ValueError, KeyError) as error:
            raise DrillError(f"{arguments.curves} is no file of record_curves.py of this space") from error
        rank, r2 = _model.quality()
        print(f"model of {arguments.curves.name}: rank correlation {rank:.2f}, R^2 {r2:.2f} on points left out")
        marks = sorted({max(1, arguments.trials // 4), max(1, arguments.trials // 2), arguments.trials})
        print(f"best accuracy (%) after {marks} trained, after {arguments.trials} proposals; n={arguments.seeds}")
        rows = []
        with ProcessPoolExecutor(arguments.workers, initializer=_start, initargs=(arguments.curves,)) as pool:
            for case in arguments.cases:
                jobs = [(case, arguments.budget, arguments.trials, seed) for seed in range(arguments.seeds)]
                found = list(pool.map(_one, jobs))
                rows.append({"case": case, "searches": [asdict(one) for one in found]})
                cells = [best_after(found, mark) for mark in marks]
                there = [best for one in found if (best := one.by_proposals[arguments.trials - 1]) > 0]
                several = "" if len(there) == len(found) else f" ({len(there)} of {len(found)})"
                cells.append((mean_and_error(there) if there else "none") + several)
                drift = [one.last_layers - one.first_layers for one in found]
                of_drift = statistics.stdev(drift) / math.sqrt(len(drift)) if len(drift) > 1 else math.nan
                wasted, first, last, seconds = (
                    statistics.mean(getattr(one, key) for one in found)
                    for key in ("wasted", "first_layers", "last_layers", "seconds")
                )
                print(
                    f"{case:28} {'  '.join(cells)}  wasted {wasted:.0%}  layers {first:.2f} to {last:.2f}, drift "
                    f"{statistics.mean(drift):+.2f} +- {of_drift:.2f}  {1000 * seconds:.0f} ms",
                    flush=True,
                )
        write_json(arguments.out, {"model": {"rank": rank, "r2": r2}, "rows": rows, **versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
