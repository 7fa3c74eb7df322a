"""Takes whole curves out of a study, for pruners and samplers to be compared on.

A study that was searched with `--pruner none` has the whole curve of each trial:

    drill-search --budget 10000 --trials 66 --pruner none --finalists 0 --study curves
    python tests/benchmarks/record_curves.py --study curves --out tests/benchmarks/curves-10000.json

A line a complete trial, in their order: its point, parameters, convolution layers, the hand step or starting
point that it is (or null), and after each epoch validation accuracy, validation loss and training loss. With
`--append` they are added to those that the file has, of a search with the same budget, epochs and data set; a
point that it has is not added again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import optuna
from bench import one_sentence, versions, write_lines

from drill_models.errors import DrillError
from drill_models.step import ConvBlock
from search.schema import attributes as attrs
from search.study.open import open_to_read
from search.study.study import read_settings, read_space
from search.study.trials import complete_trials, figures
from spaces.skeletons import load_skeletons


def recorded(study: optuna.Study) -> list[dict[str, Any]]:
    """The complete trials of a study."""
    space = read_space(study)
    known = {skeleton.name for skeleton in load_skeletons()}
    found = []
    for trial in complete_trials(study):
        if trial.params["skeleton"] not in known:
            continue  # a user's own, or one that has gone since
        blocks = space.model(trial.params).blocks
        found.append(
            {
                "number": trial.number,
                "point": trial.params,
                "n_params": trial.user_attrs[attrs.N_PARAMS],
                "layers": sum(isinstance(block, ConvBlock) for block in blocks),
                "baseline": trial.user_attrs.get(attrs.BASELINE),
                "start": trial.user_attrs.get(attrs.START),
                "value": round(trial.values[0], 6),
                "accuracy": figures(trial, "val_accuracy"),
                "loss": [round(loss, 5) for loss in figures(trial, "val_loss")],
                "train_loss": [round(loss, 5) for loss in figures(trial, "train_loss")],
            }
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="database URL; default: the last one used")
    parser.add_argument("--study", help="default: the last one used")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--append", action="store_true", help="to the curves that are in it")
    arguments = parser.parse_args()
    with one_sentence(), open_to_read(arguments.storage, arguments.study) as study:
        settings = read_settings(study)
        about = {
            "dataset": settings.dataset,
            "max_params": settings.max_params,
            "epochs": settings.epochs,
            "space": settings.space,
            **versions(),
        }
        trials = recorded(study)
        before: list[dict[str, Any]] = []
        if arguments.append:
            try:
                content = json.loads(arguments.out.read_text(encoding="utf-8"))
                there, before = content["about"], content["trials"]
            except (OSError, ValueError, KeyError) as error:
                raise DrillError(f"{arguments.out} is no file of this script, to be added to") from error
            if there != about:
                raise DrillError(f"{arguments.out} has curves of {there}, these are of {about}")
            points = [trial["point"] for trial in before]
            trials = [trial for trial in trials if trial["point"] not in points]
        write_lines(arguments.out, "about", about, "trials", before + trials)
        print(f"{len(trials)} curves, {len(before) + len(trials)} in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
