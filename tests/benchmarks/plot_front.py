"""Draws a study of accuracy against parameters: its trials, its front, and the verdicts of committed networks.

    python tests/benchmarks/plot_front.py --study STUDY --out studies/pareto.png studies/best/*.yaml

Errors are on a logarithmic axis, so that 99.4 and 99.7 % are as far apart as 97 and 98.5 %. Trials stopped early
are left out: their last value says little.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import optuna
from bench import one_sentence
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from optuna.trial import FrozenTrial

from drill_models.step import Step
from drill_models.step_io import load_step
from search.schema import attributes as attrs
from search.study.open import open_to_read
from search.study.ranking import front, ranked, standings
from search.study.study import read_settings

ACCURACIES = (0.9, 0.95, 0.98, 0.99, 0.992, 0.994, 0.995, 0.996, 0.997)
WORST = 0.95
"""Trials below are left out of the picture."""


def draw(study: optuna.Study, steps: list[Step], axes: Axes) -> None:
    """Draws everything."""
    stand = standings(study, ranked(study))

    def points(trials: list[FrozenTrial]) -> tuple[list[int], list[float]]:
        shown = [trial for trial in trials if stand[trial.number].mean >= WORST]
        return [t.user_attrs[attrs.N_PARAMS] for t in shown], [1 - stand[t.number].mean for t in shown]

    complete = ranked(study)
    hand = [trial for trial in complete if attrs.BASELINE in trial.user_attrs]
    axes.scatter(*points([t for t in complete if t not in hand]), s=16, color="0.65", label="trials, validation")
    axes.scatter(*points(hand), s=28, marker="s", color="tab:orange", label="hand steps, validation")
    axes.step(*points(front(study)), where="post", color="tab:blue", label="front, validation")
    known = [(step.verdict, step.result.n_params) for step in steps if step.verdict and step.result]
    if known:
        means = [1 - verdict.mean for verdict, _ in known]
        spread = (
            [verdict.max - verdict.mean for verdict, _ in known],
            [verdict.mean - verdict.min for verdict, _ in known],
        )
        axes.errorbar(
            [n for _, n in known], means, yerr=spread, fmt="*", ms=11, color="tab:red", capsize=3,
            label="committed, test: mean and range of seeds",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set_yticks([1 - accuracy for accuracy in ACCURACIES if accuracy >= WORST])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * (1 - error):.3g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([500, 1000, 2000, 3000, 5000, 10_000])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel(f"accuracy on {read_settings(study).dataset}")
    axes.legend(loc="lower right")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="step files, whose verdicts are drawn")
    parser.add_argument("--storage", help="database URL; default: the last one used")
    parser.add_argument("--study", help="default: the last one used")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    arguments = parser.parse_args()
    with one_sentence(), open_to_read(arguments.storage, arguments.study) as study:
        matplotlib.use("agg")
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        draw(study, [load_step(file) for file in arguments.files], axes)
        figure.savefig(arguments.out, dpi=110)
        print(f"written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
