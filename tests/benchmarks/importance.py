"""Which dimensions of the space matter: PED-ANOVA on recorded runs.

    python tests/benchmarks/importance.py --curves tests/benchmarks/curves-3000.json

PED-ANOVA (Watanabe and others, IJCAI 2023; Optuna's `PedAnovaImportanceEvaluator`) says how much the good trials,
the best quarter, differ from all others in each dimension; shares sum to 1. Hand steps and starting points are
left out: nobody drew their dimensions. With a few dozen trials the order of the smaller ones is noise: `of` says
in how many of 20 halves of the trials a dimension was among the first ten. `ablation.py` is the stronger test.
"""

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from bench import one_sentence
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from drill_models.errors import DrillError
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

HALVES, FIRST, GOOD = 20, 10, 0.25


def importances(trials: list[dict[str, Any]], space: DrillSpace) -> dict[str, float]:
    """Of each dimension, largest first."""
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.add_trial(
            optuna.create_trial(
                params=trial["point"], distributions=dict(space.distributions), value=trial["value"]
            )
        )
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=GOOD))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path(__file__).with_name("curves-3000.json"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with one_sentence():
        try:
            trials = json.loads(arguments.curves.read_text(encoding="utf-8"))["trials"]
        except (OSError, ValueError, KeyError) as error:
            raise DrillError(f"{arguments.curves} is no file of record_curves.py") from error
        trials = [trial for trial in trials if trial["baseline"] is None and trial["start"] is None]
        space = DrillSpace(load_skeletons())
        rng = random.Random(0)
        first: Counter[str] = Counter()
        for _ in range(HALVES):
            half = rng.sample(trials, len(trials) // 2)
            first.update(list(importances(half, space))[:FIRST])
        print(f"{len(trials)} trials; of: among the first {FIRST} in so many of {HALVES} halves")
        for name, share in importances(trials, space).items():
            print(f"{name:16} {share:6.1%}  of {first[name]:2}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
