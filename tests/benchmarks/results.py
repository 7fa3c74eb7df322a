"""Prints the tables of studies/README.md from the step files that it speaks of.

    drill-search confirm studies/best/*.yaml --seeds 5
    drill-search confirm studies/drills/*/*.yaml --seeds 3
    python tests/benchmarks/results.py

Step files without a verdict of what they say now are left out, and named at the end.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import one_sentence

from drill_models.count import count
from drill_models.result import Verdict
from drill_models.step import Step
from drill_models.step_io import load_step
from search.console.tables import percent
from search.console.verdict_tables import claim, pooled
from search.study.phrasing import chain

STUDIES = Path(__file__).parent.parent.parent / "studies"


def figures(step: Step, verdict: Verdict) -> list[str]:
    """What a verdict says, as cells."""
    deviation = "-" if verdict.std is None else f"{100 * verdict.std:.3f}"
    return [
        f"{count(step.model).n_params:,}",
        percent(verdict.mean),
        deviation,
        f"{percent(verdict.min)} to {percent(verdict.max)}",
        percent(verdict.last3_min),
        percent(verdict.last5_min),
        str(verdict.seeds),
    ]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |")
    print()


def best_rows(files: Sequence[Path]) -> list[list[str]]:
    """One a committed network, most parameters first."""
    steps = sorted(map(load_step, files), key=lambda step: -count(step.model).n_params)
    return [[step.name, f"`{chain(step.model)}`", *figures(step, step.verdict)] for step in steps if step.verdict]


def hand_rows(files: Sequence[Path]) -> list[list[str]]:
    """One a hand step: what it reported, beside its best epochs here."""
    known = [(step, step.verdict) for step in map(load_step, files) if step.verdict]
    tops = [[max(run.accuracies) for run in verdict.runs] for _, verdict in known]
    # Steps of one recipe share their runs.
    spread = pooled(list({step.digest: best for (step, _), best in zip(known, tops, strict=True)}.values()))
    rows = []
    for (step, verdict), best in zip(known, tops, strict=True):
        reported = step.result.reported.test_accuracy if step.result and step.result.reported else None
        said = "-" if reported is None else claim(reported, best, spread)
        n_params, mean, deviation, _, _, lowest, seeds = figures(step, verdict)
        top = percent(statistics.mean(best))
        rows.append([step.name, n_params, percent(reported), top, mean, deviation, lowest, seeds, said])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    best = sorted(STUDIES.glob("best/*.yaml"))
    hand = sorted(STUDIES.glob("drills/*/*.yaml"))
    with one_sentence():
        columns = ["parameters", "mean", "std", "range", "lowest of last 3", "lowest of last 5", "seeds"]
        print_table(["step", "network", *columns], best_rows(best))
        columns = [
            "parameters",
            "reported",
            "best epoch",
            "last epoch",
            "std",
            "lowest of last 5",
            "seeds",
            "claim",
        ]
        print_table(["hand step", *columns], hand_rows(hand))
        without = [str(file.relative_to(STUDIES)) for file in (*best, *hand) if load_step(file).verdict is None]
        if without:
            print(f"without a verdict: {', '.join(without)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
