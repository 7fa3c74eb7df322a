"""What ranks networks best: figures of validation runs against verdicts of several seeds on the test set.

    drill-search confirm --top 12 --study STUDY
    python tests/benchmarks/rankers.py --study STUDY

Takes every trial of a study whose recipe has confirmed runs (`studies/confirmed.jsonl`, of `confirm` and
`baselines`) with at least `--seeds` seeds. For each figure that a search could choose by, the rank correlation
(Spearman's) with the mean test accuracy of the last epoch over the seeds, and its 95 % interval by drawing
networks again, 2,000 times. The test set is read by the verdicts alone; this only compares.
"""

import argparse
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from bench import one_sentence
from scipy.stats import spearmanr

from drill_models.errors import DrillError
from search.evaluation.run_cache import FILE, ConfirmedRuns
from search.export.step import step_six
from search.study.open import open_to_read
from search.study.ranking import ranked, standings
from search.study.trials import figures

Figures = tuple[Sequence[float], Sequence[float]]
"""Validation accuracy and loss after each epoch."""

RANKERS: dict[str, Callable[[Figures], float]] = {
    "accuracy, last epoch": lambda run: run[0][-1],
    "accuracy, best epoch": lambda run: max(run[0]),
    "accuracy, mean of the last three": lambda run: statistics.mean(run[0][-3:]),
    "accuracy, mean of the last five": lambda run: statistics.mean(run[0][-5:]),
    "accuracy, least of the last three": lambda run: min(run[0][-3:]),
    "loss, last epoch": lambda run: -run[1][-1],
    "loss, mean of the last three": lambda run: -statistics.mean(run[1][-3:]),
}
LEAST = 8
"""Networks without which no correlation is shown."""
SEVERAL = "accuracy, mean of the last three, several seeds"


def rows(study: optuna.Study, kept: ConfirmedRuns, seeds: int) -> list[tuple[dict[str, float], float]]:
    """For each network with a verdict: what each ranker says of it, and the verdict's mean."""
    found = []
    stand = standings(study, ranked(study))
    for trial in ranked(study):
        runs = kept.of_recipe(step_six(study, trial).digest)
        if len(runs) < seeds:
            continue
        said = {
            name: ranker((figures(trial, "val_accuracy"), figures(trial, "val_loss")))
            for name, ranker in RANKERS.items()
        }
        said[SEVERAL] = stand[trial.number].mean
        found.append((said, statistics.mean(run.accuracies[-1] for run in runs)))
    return found


def correlation(found: Sequence[tuple[dict[str, float], float]], name: str) -> float:
    """Spearman's, of one ranker."""
    return float(spearmanr([said[name] for said, _ in found], [mean for _, mean in found]).statistic)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="database URL; default: the last one used")
    parser.add_argument("--study", help="default: the last one used")
    parser.add_argument("--confirmed", type=Path, default=FILE)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with one_sentence(), open_to_read(arguments.storage, arguments.study) as study:
        found = rows(study, ConfirmedRuns(arguments.confirmed), arguments.seeds)
        if len(found) < LEAST:
            raise DrillError(
                f"{len(found)} trials have {arguments.seeds} confirmed runs; that is too few to compare"
            )
        print(f"{len(found)} networks; rank correlation with the mean test accuracy of the last epoch (95 %)")
        for name in (*RANKERS, SEVERAL):
            rng = random.Random(0)
            draws = (correlation(rng.choices(found, k=len(found)), name) for _ in range(2000))
            drawn = sorted(value for value in draws if not math.isnan(value))  # NaN where all drawn are equal
            low, high = drawn[round(0.025 * len(drawn))], drawn[round(0.975 * len(drawn)) - 1]
            print(f"{name:48} {correlation(found, name):5.2f} ({low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
