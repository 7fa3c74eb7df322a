"""Copying and deleting studies: whole or not at all, and nothing of another one."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna_dashboard import save_note
from optuna_dashboard._note import get_note_from_system_attrs
from sqlalchemy.engine import URL

from drill_models.datasets import DatasetName
from drill_models.errors import StudyError
from drill_models.result import Caveat
from search.config import SearchConfig
from search.export.step import step_six
from search.report.dashboard import publish
from search.schema import attributes as attrs
from search.storage.artifacts import STEP_FILE, Artifacts, artifact_folder
from search.storage.storage import open_storage
from search.storage.url import parse
from search.study.caveats import STARTING_POINT
from search.study.constraints import set_constraints
from search.study.manage import COPYING, all_studies, copy_study, delete_study
from search.study.study import load_study, open_study, settings_of
from search.study.trials import pack_curve
from spaces.budget import Budget
from spaces.skeletons import load_skeletons
from tests.jobs import record
from tests.spaces_for_tests import SPACE

BUDGET = Budget(max_params=10_000_000)


def _made(url: URL, name: str, trials: int = 2, dataset: DatasetName = "mnist-5k") -> optuna.Study:
    """A study with a file of each trial; the first is a starting point."""
    settings = settings_of(SearchConfig(budget=BUDGET, skeletons=load_skeletons()), dataset)
    storage = open_storage(url, create=True)
    study = open_study(storage, name, settings, load_skeletons(), RandomSampler(seed=0), NopPruner())
    for _ in range(trials):
        trial = study.ask(dict(SPACE.distributions))
        excess = BUDGET.excess(SPACE.model(trial.params))
        set_constraints(trial, excess)
        trial.set_user_attr(attrs.N_PARAMS, excess["n_params"] + BUDGET.max_params)
        trial.set_user_attr(attrs.EPOCHS, 1)
        trial.set_user_attr(attrs.SEED, trial.number)
        trial.set_user_attr(attrs.ENVIRONMENT, {"device": "cpu", "threads": 1, "torch": "2"})
        if trial.number == 0:
            trial.set_user_attr(attrs.START, "one-pool")
        trial.set_user_attr(attrs.CURVE, pack_curve([record(1, 0.5)]))
        Artifacts(artifact_folder(url)).keep(trial, STEP_FILE, f"{name} {trial.number}".encode())
        study.tell(trial, 0.5)
    return study


def _files(study: optuna.Study, url: URL) -> list[bytes | None]:
    found = [Artifacts(artifact_folder(url)).find(study, trial, STEP_FILE) for trial in study.trials]
    assert all(len(get_all_artifact_meta(trial, storage=study._storage)) == 1 for trial in study.trials)
    return found


def test_each_storage_has_a_folder_of_its_own() -> None:
    addresses = [
        "sqlite:///studies/drill-search.db",
        "sqlite:///studies/other.db",
        "sqlite:///elsewhere/drill-search.db",
        "postgresql+psycopg://me@here/a",
        "postgresql+psycopg://me@here/b",
        "postgresql+psycopg://me@there/a",
        "postgresql+psycopg:///a?host=/run/one",
        "postgresql+psycopg:///a?host=/run/two",
    ]
    assert len({artifact_folder(parse(address)) for address in addresses}) == len(addresses)
    # One database is one, whoever asks.
    same = ["postgresql+psycopg://me:secret@here/a", "postgresql://you@here/a?sslmode=require"]
    assert {artifact_folder(parse(address)) for address in same} == {artifact_folder(parse(addresses[3]))}


def test_a_copy_elsewhere_keeps_its_files_when_the_first_is_deleted(tmp_path: Path) -> None:
    here, there = parse(f"sqlite:///{tmp_path}/drill-search.db"), parse(f"sqlite:///{tmp_path}/other.db")
    _made(here, "one")
    copy_study(here, "one", there, "one")
    delete_study(here, "one")
    assert list(artifact_folder(here).iterdir()) == []
    copied = load_study(open_storage(there, create=False), "one")
    assert _files(copied, there) == [b"one 0", b"one 1"]


def test_notes_of_a_copy_are_of_its_own_trials(tmp_path: Path) -> None:
    here, there = parse(f"sqlite:///{tmp_path}/a.db"), parse(f"sqlite:///{tmp_path}/b.db")
    study = _made(here, "one")
    save_note(study, "of the first")
    # Trials of the other storage have other numbers: there, the first one's number is another's.
    _made(there, "before", trials=1)
    copy_study(here, "one", there, "again", publish)
    copied = load_study(open_storage(there, create=False), "again")
    found = copied._storage.get_study_system_attrs(copied._study_id)
    assert get_note_from_system_attrs(found, None)["body"].startswith("# again\n")
    for trial in copied.trials:
        assert get_note_from_system_attrs(found, trial._trial_id)["body"].startswith(
            f"# trial {trial.number}{': one-pool' if trial.number == 0 else ''}\n"
        )


def test_a_copy_that_fails_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    _made(url, "one")
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "add_trials", lambda self, trials: self.add_trial(trials[0]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            copy_study(url, "one", url, "two")
    assert [each.name for each in all_studies(url)] == ["one"]
    copy_study(url, "one", url, "two")
    assert [each.counts.complete for each in all_studies(url)] == [2, 2]


def test_a_copy_that_was_killed_is_no_study_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    study = _made(url, "one")
    left = optuna.create_study(study_name="two", storage=study._storage)
    left.set_user_attr(COPYING, True)
    left.add_trial(study.trials[0])
    assert [each.name for each in all_studies(url)] == ["one"]
    copy_study(url, "one", url, "two")
    assert [each.counts.complete for each in all_studies(url)] == [2, 2]
    with pytest.raises(StudyError, match="there is a study two"):
        copy_study(url, "one", url, "two")


def test_a_starting_point_says_how_its_training_was_chosen(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    cases: tuple[tuple[DatasetName, tuple[Caveat, ...]], ...] = (("mnist", (STARTING_POINT,)), ("kmnist", ()))
    for dataset, said in cases:
        study = _made(url, dataset, dataset=dataset)
        first, second = (step_six(study, trial) for trial in study.trials)
        assert first.result is not None
        assert second.result is not None
        assert (first.result.caveats, second.result.caveats) == (said, ())
