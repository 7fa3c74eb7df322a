"""A study in a SQLite file as a search leaves it, made in a moment: curves that nobody trained."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from drill_models.backend import Backend, Environment
from drill_models.result import EpochRecord, Verdict
from search.config import SearchConfig
from search.evaluation.run_cache import ConfirmedRun, RunKey
from search.evaluation.statistics import make_verdict
from search.export.step import step_six
from search.schema import attributes as attrs
from search.storage.storage import closed_after, open_storage
from search.storage.url import parse
from search.study.constraints import with_constraints
from search.study.ranking import keep_finalists, keep_rerun, ranked
from search.study.session_log import keep_sitting
from search.study.study import StudySettings, keep_verdict, open_study, read_space
from search.study.trials import pack_curve, value_of
from spaces.budget import Budget
from spaces.skeletons import load_skeletons
from tests.spaces_for_tests import random_points

STUDY, EPOCHS = "made", 4
BUDGET = Budget(max_params=3_000)
WHERE = Environment(device="cpu", threads=1, torch="2.15", program="1", engine="native")


def settings(**changes: Any) -> StudySettings:
    """Of the study."""
    return StudySettings(
        **{
            "dataset": "mnist-5k", "max_params": BUDGET.max_params, "max_macs": None, "max_activations": None,
            "epochs": EPOCHS, "space": "drill2", "target": 0.97, **changes,
        }
    )  # fmt: skip


def made_curve(chance: random.Random, epochs: int = EPOCHS) -> list[EpochRecord]:
    """A rising one."""
    top = chance.uniform(0.9, 0.98)
    return [
        EpochRecord(
            epoch=i, lr=0.1, train_loss=1 / i, train_accuracy=top - 0.1 / i, val_loss=1 / i,
            val_accuracy=top - 0.2 / i, seconds=1.5,
        )
        for i in range(1, epochs + 1)
    ]  # fmt: skip


def fill(study: optuna.Study, n: int, chance: random.Random) -> None:
    """Adds trials as a search tells them: complete ones, each fourth stopped early."""
    space = read_space(study)
    pareto = len(study.directions) > 1
    points = random_points(n, seed=chance.randrange(1000))
    trials = []
    for number, wide in enumerate(points):
        point = space.shrink(wide, BUDGET)
        excess = BUDGET.excess(space.model(point))
        n_params = excess["n_params"] + BUDGET.max_params
        complete = number % 4 != 3
        records = made_curve(chance)[: EPOCHS if complete else 2]
        trials.append(
            optuna.create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                values=[value_of(records), *([n_params] if pareto else [])] if complete else None,
                params=point,
                distributions=dict(space.distributions),
                user_attrs={
                    attrs.OWNER: "me", attrs.N_PARAMS: n_params, attrs.SEED: number, attrs.EPOCHS: EPOCHS,
                    attrs.CURVE: pack_curve(records), attrs.ENVIRONMENT: asdict(WHERE),
                    **({attrs.BASELINE: "a-runs/5"} if number == 1 else {}),
                },
                system_attrs=with_constraints(excess),
                intermediate_values={r.epoch: r.val_accuracy for r in records} if not pareto else {},
            )
        )  # fmt: skip
    study.add_trials(trials)


def fake_run(recipe: str, seed: int, accuracy: float = 0.95, epochs: int = EPOCHS) -> ConfirmedRun:
    """A run on all training images that nobody trained."""
    key = RunKey(recipe=recipe, device="cpu", engine="native", precision="fp32", torch="2.15", version="1")
    records = tuple(
        EpochRecord(
            epoch=i, lr=0.1, train_loss=1, train_accuracy=0.9, val_loss=1, val_accuracy=accuracy, seconds=1.0
        )
        for i in range(1, epochs + 1)
    )
    return ConfirmedRun(key=key, seed=seed, epochs=records, mistakes=tuple(range(round((1 - accuracy) * 1000))))


def fake_verdict(recipe: str, accuracies: tuple[float, ...] = (0.95, 0.951, 0.949)) -> Verdict:
    """A verdict of runs that nobody trained."""
    return make_verdict([fake_run(recipe, seed, accuracy) for seed, accuracy in enumerate(accuracies)])


def make(file: Path, n: int = 12, *, pareto: bool = False, seed: int = 0) -> None:
    """A study with other trainings, finalists, a verdict and a session, in a new file."""
    chance = random.Random(seed)
    with opened(file, create=True) as storage:
        study = open_study(
            storage, STUDY, settings(objective="pareto" if pareto else "accuracy"), load_skeletons(),
            optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner(),
        )  # fmt: skip
        fill(study, n, chance)
        keep_sitting(study, SearchConfig(budget=BUDGET, skeletons=()), Backend(), 2)
        best = ranked(study)
        for trial in best[:2]:
            keep_rerun(study, trial.number, 1_000_000_007 + trial.number, made_curve(chance))
        keep_finalists(study, best[:2], 2, 1)
        step = step_six(study, ranked(study)[0])
        keep_verdict(study, ranked(study)[0].number, fake_verdict(step.digest))
        study.enqueue_trial(best[-1].params)


@contextmanager
def opened(file: Path, *, create: bool = False) -> Iterator[Any]:
    """The storage in a file."""
    storage = open_storage(parse(f"sqlite:///{file}"), create=create)
    with closed_after(storage):
        yield storage


def sql(file: Path, statement: str, *values: Any) -> int:
    """Edits the file by hand; returns how many rows that changed."""
    with closing(sqlite3.connect(file)) as database, database:
        return database.execute(statement, values).rowcount
