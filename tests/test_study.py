"""Studies, storages and baselines."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy import event

from drill_models.errors import Interrupted, StudyError
from drill_models.hand_steps import choose
from search.commands.search import _without_password
from search.config import SearchConfig
from search.engine.warm_start import seed_baselines
from search.names import DEFAULT_BASELINES
from search.schema import attributes as attrs
from search.storage.storage import open_storage, quick_writes, sole_owner
from search.storage.url import parse, shown
from search.study.last_used import last_used, remember
from search.study.open import open_to_read
from search.study.ranking import best
from search.study.study import StudySettings, open_study, read_settings, read_space, settings_of, study_name
from search.study.trials import baselines, tally
from spaces.budget import Budget
from spaces.skeletons import load_skeletons
from tests.spaces_for_tests import SPACE

SKELETONS = load_skeletons()


def _config(budget: int = 10_000, epochs: int = 15, max_macs: int | None = None) -> SearchConfig:
    return SearchConfig(budget=Budget(max_params=budget, max_macs=max_macs), skeletons=SKELETONS, epochs=epochs)


def _open(tmp_path: Path, settings: StudySettings, name: str = "s") -> optuna.Study:
    storage = open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=True)
    return open_study(storage, name, settings, SKELETONS, RandomSampler(), NopPruner())


def test_names_say_what_is_not_the_default() -> None:
    assert study_name(settings_of(_config(), "mnist")) == "mnist-10000-drill2"
    assert study_name(settings_of(_config(epochs=5), "kmnist")) == "kmnist-10000-drill2-5epochs"
    limited = settings_of(_config(max_macs=10**6), "mnist-5k")
    assert study_name(limited, ("my-net",)) == "mnist-5k-10000-1000000macs-drill2-my-net"


def test_joins_the_same_search_and_reads_it_back(tmp_path: Path) -> None:
    settings = settings_of(_config(), "mnist")
    first, second = _open(tmp_path, settings), _open(tmp_path, settings)
    assert first._study_id == second._study_id
    assert read_settings(second) == settings
    assert read_space(second).distributions == SPACE.distributions


def test_another_search_says_what_differs(tmp_path: Path) -> None:
    _open(tmp_path, settings_of(_config(), "mnist"))
    with pytest.raises(StudyError) as caught:
        _open(tmp_path, settings_of(_config(budget=5000, epochs=3), "kmnist"))
    message = str(caught.value)
    for part in ("--dataset mnist (now kmnist)", "--budget 10000 (now 5000)", "--epochs 15 (now 3)", "--study"):
        assert part in message


def test_other_skeletons_are_another_space(tmp_path: Path) -> None:
    settings = settings_of(_config(), "mnist")
    _open(tmp_path, settings)
    storage = open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=True)
    with pytest.raises(StudyError, match="skeletons"):
        open_study(storage, "s", settings, SKELETONS[1:], RandomSampler(), NopPruner())


def test_a_strangers_study_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    stranger = optuna.create_study(storage=url, study_name="s")
    stranger.tell(stranger.ask(), 1.0)
    with pytest.raises(StudyError, match="not made by drill-search"):
        _open(tmp_path, settings_of(_config(), "mnist"))


def test_hand_steps_are_seeded_once_and_over_budget_ones_recorded(tmp_path: Path) -> None:
    study = _open(tmp_path, settings_of(_config(9_000), "mnist"))
    steps = choose(DEFAULT_BASELINES)
    budget = Budget(max_params=9_000)
    seeded = seed_baselines(study, steps, SPACE, budget, epochs=15)
    assert seeded.queued == ("e-codes 4", "b-cyclic 5")
    assert len(seeded.over_budget) == 7
    again = seed_baselines(study, steps, SPACE, budget, epochs=15)
    assert again.queued == again.over_budget == ()
    assert len(baselines(study)) == 9
    assert tally(study).trained == 0
    recorded = next(t for t in study.trials if t.user_attrs[attrs.BASELINE] == "a-runs 1")
    assert recorded.state == TrialState.PRUNED
    assert recorded.constraints["n_params"] == 194_884 - 9_000
    assert recorded.user_attrs[attrs.N_PARAMS] == 194_884
    assert recorded.user_attrs[attrs.REPORTED] == 0.9902
    assert recorded.system_attrs["constraints"] == [185_884]
    with pytest.raises(StudyError, match="no complete trial yet"):
        best(study)


def test_hand_steps_that_are_one_recipe_are_named(tmp_path: Path) -> None:
    study = _open(tmp_path, settings_of(_config(), "mnist"))
    steps = choose(["a-runs/3", "a-runs/4", "a-runs/5"])
    seeded = seed_baselines(study, steps, SPACE, Budget(max_params=10_000), epochs=15)
    assert seeded.queued == ("a-runs 3", "a-runs 4", "a-runs 5")
    assert seeded.alike == (("a-runs 4", "a-runs 5"),)
    assert seed_baselines(study, steps, SPACE, Budget(max_params=10_000), epochs=15).alike == ()


def test_a_hand_step_that_is_like_one_of_an_earlier_sitting_is_named(tmp_path: Path) -> None:
    study = _open(tmp_path, settings_of(_config(), "mnist"))
    seed_baselines(study, choose(["a-runs/4"]), SPACE, Budget(max_params=10_000), epochs=15)
    steps = choose(["a-runs/4", "a-runs/5"])
    seeded = seed_baselines(study, steps, SPACE, Budget(max_params=10_000), epochs=15)
    assert (seeded.queued, seeded.alike) == (("a-runs 5",), (("a-runs 4", "a-runs 5"),))


def test_epochs_cap_hand_steps(tmp_path: Path) -> None:
    study = _open(tmp_path, settings_of(_config(epochs=18), "mnist"))
    seed_baselines(study, choose(["d-rotation/5", "e-codes/4"]), SPACE, Budget(max_params=10_000), epochs=18)
    assert [t.user_attrs[attrs.EPOCHS] for t in study.trials] == [18, 15]


def test_passwords_are_hidden() -> None:
    url = parse("postgresql+psycopg://me:secret@db.example/x")
    assert "secret" not in shown(url)
    query = parse("postgresql://localhost/x?user=me&password=secret")
    assert "secret" not in shown(query)
    assert "user=me" in shown(query)
    with pytest.raises(StudyError) as caught:
        parse("not a url secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuchdb://x/y", "no driver for nosuchdb is installed: studies lie in SQLite, PostgreSQL or MySQL"),
        ("mysql+nodriver://me:secret@127.0.0.1:1/x", r"pip install 'pymysql\[rsa\]'"),
        ("postgresql+pg8000://me:secret@127.0.0.1:1/x", "no driver for postgresql"),
    ],
)
def test_missing_drivers_are_said(url: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        open_storage(parse(url), create=True)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is not a database" * 100)
    before = (tmp_path / "x.db").read_bytes()
    with pytest.raises(StudyError, match="file is not a database"):
        open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=True)
    assert (tmp_path / "x.db").read_bytes() == before


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study database"):
        open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be made"):
        open_storage(parse(f"sqlite:///{tmp_path}/file/x.db"), create=True)


def test_a_study_has_one_owner(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    with sole_owner(url, "a/b"):
        with pytest.raises(StudyError, match="another process"), sole_owner(url, "a/b"):
            pass
        with sole_owner(url, "other"):
            pass
    with sole_owner(url, "a/b"):
        pass


def test_sqlite_is_written_ahead_and_one_file_in_the_end(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    storage = open_storage(url, create=True)

    def pragma(name: str) -> object:
        with storage.engine.connect() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    with quick_writes(storage, url):
        assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 1)
        optuna.create_study(storage=storage, study_name="s")
        assert (tmp_path / "x.db-wal").stat().st_size > 0
    assert (pragma("journal_mode"), pragma("synchronous")) == ("delete", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]
    # Where somebody else reads, it stays as it is, and nothing is lost.
    with closing(sqlite3.connect(tmp_path / "x.db")) as other:
        with quick_writes(storage, url):
            optuna.create_study(storage=storage, study_name="t")
            other.execute("SELECT * FROM studies").fetchone()
        assert len(other.execute("SELECT * FROM studies").fetchall()) == 2


def test_last_used_keeps_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_used() is None
    remember(parse("postgresql+psycopg://me:secret@db.example:5432/x"), "s")
    found = last_used()
    assert found is not None
    assert (found.storage, found.study) == ("postgresql+psycopg://me@db.example:5432/x", "s")
    remember(parse("postgresql://db.example/x?password=secret"), "s")
    assert "secret" not in (tmp_path / "studies/.last-used.json").read_text()


def test_the_command_to_go_on_has_no_password() -> None:
    for word in ("postgresql://me:secret@db/x", "--storage=postgresql://db/x?password=secret"):
        assert "secret" not in _without_password(word)
    assert _without_password("--trials=5") == "--trials=5"


def test_reading_takes_the_study_that_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of(_config(), "mnist")
    _open(tmp_path, settings, "one")
    _open(tmp_path, settings, "two")
    url = f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(StudyError, match="name one by --study; studies are: one, two"), open_to_read(url, None):
        pass
    remember(parse(url), "two")
    with open_to_read(None, None) as study:
        assert study.study_name == "two"
    with open_to_read(url, "one") as study:
        assert study.study_name == "one"
    with pytest.raises(StudyError, match="there is no study 'three'"), open_to_read(None, "three"):
        pass


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    from search.storage.storage import storage_errors

    url = parse(f"sqlite:///{tmp_path}/x.db")
    study = _open(tmp_path, settings_of(_config(), "mnist"))
    with sqlite3.connect(tmp_path / "x.db") as raw:
        raw.execute("CREATE TRIGGER full BEFORE INSERT ON trials BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    with pytest.raises(StudyError, match=r"failed: .*disk is full"), storage_errors(url):
        study.ask()


def test_a_points_parameters_are_written_in_one_transaction(tmp_path: Path) -> None:
    storage = open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=True)
    study = open_study(
        storage, "s", settings_of(_config(), "mnist"), SKELETONS, RandomSampler(seed=0), NopPruner()
    )
    space = dict(SPACE.distributions)
    commits: list[object] = []
    study.get_trials()  # what trials are held to is read once
    event.listen(storage.engine, "commit", commits.append)
    study.ask(space)
    each, commits[:] = len(commits), []
    with storage.params_together():
        asked = study.ask(space)
    together = len(commits)
    assert each - together >= len(space) - 1
    assert storage.get_trial(asked._trial_id).params == asked.params
    assert asked.params.keys() == space.keys()
    commits.clear()
    study.ask(space)
    assert len(commits) == each  # outside, as Optuna does


def test_of_a_point_that_is_not_drawn_to_its_end_nothing_is_written(tmp_path: Path) -> None:
    study = _open(tmp_path, settings_of(_config(), "mnist"))
    storage = open_storage(parse(f"sqlite:///{tmp_path}/x.db"), create=True)
    mine = optuna.load_study(study_name="s", storage=storage, sampler=RandomSampler(seed=0))
    space = dict(SPACE.distributions)
    mine.ask(space)

    def half() -> None:
        with storage.params_together():
            mine.ask(dict(list(space.items())[:5]))
            raise Interrupted

    def ended_by_another() -> None:
        with storage.params_together():
            study.tell(mine.ask(space).number, state=TrialState.FAIL)

    with pytest.raises(Interrupted):
        half()
    with pytest.raises(UpdateFinishedTrialError):
        ended_by_another()
    with storage.params_together():
        later = mine.ask(space)
    assert [trial.params for trial in study.get_trials()[1:]] == [{}, {}, later.params]
