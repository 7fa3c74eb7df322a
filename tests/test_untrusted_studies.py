"""Studies that were edited by hand: what does not fit is left out and said, and nothing in one is believed."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import ValidationError
from rich.console import Console

from drill_models.errors import StudyError
from drill_models.result import Verdict
from search.console.console import Screen
from search.console.tables import new_table
from search.evaluation.verdict_trust import contradicts, says_more
from search.storage.checked import CheckedStorage
from search.study.open import open_to_read
from search.study.ranking import best, ranked
from search.study.study import kept_verdict, left_out, load_study
from search.study.trials import accuracy_of
from search.text import harmless, without_passwords
from tests import fuzz_studies
from tests.command_line import Run
from tests.made_studies import STUDY, fake_run, fake_verdict, make, opened, sql

Edit = Callable[[Any], Any]
HAND_STEP = Path(__file__).parent.parent / "studies/drills/e-codes/4.yaml"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of this program, which a test edits."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x.db")
    return tmp_path / "x.db"


def _edit(file: Path, key: str, change: Edit, number: int = 0) -> None:
    """Changes an attribute of a trial."""
    with opened(file) as storage:
        study = optuna.load_study(study_name=STUDY, storage=storage)
        trial = study.get_trials(deepcopy=False)[number]
        new = change(trial.user_attrs[key])
    trial_id = trial._trial_id
    changed = sql(
        file,
        "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = ?",
        new if isinstance(new, bytes) else json.dumps(new),
        trial_id,
        key,
    )
    assert changed == 1


def _read(file: Path) -> tuple[list[str], dict[int, float]]:
    """What is left out, and the values of complete trials."""
    with opened(file) as storage:
        study = load_study(storage, STUDY)
        return left_out(study), {trial.number: accuracy_of(trial) for trial in ranked(study)}


def test_an_untouched_study_is_read_whole(file: Path) -> None:
    lines, values = _read(file)
    assert lines == []
    assert len(values) == 9


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("n_params", lambda old: 980),
        ("n_params", lambda old: "980"),
        ("n_params", lambda old: 10**401),
        ("seed", lambda old: "x"),
        ("epochs", lambda old: 10**6),
        ("curve", lambda old: old[:1]),
        ("curve", lambda old: [[*row[:5], 0.9999, row[6]] for row in old]),
        ("curve", lambda old: [[*row[:5], 7, row[6]] for row in old]),
        ("curve", lambda old: [[*row[:5], float("nan"), row[6]] for row in old]),
        ("curve", lambda old: [[None]]),
        ("environment", lambda old: {**old, "device": "abacus"}),
        ("environment", lambda old: []),
        ("owner", lambda old: "\x1b]0;x\x07"),
        ("owner", lambda old: "\u202ex"),
        ("owner", lambda old: "x" * 300),
        ("curve", lambda old: b"[" * 100_000),
    ],
)
def test_an_edited_attribute_takes_its_trial_out(file: Path, key: str, change: Edit) -> None:
    before = _read(file)[1]
    _edit(file, key, change)
    lines, values = _read(file)
    assert len(lines) == 1
    assert "trial 0" in lines[0]
    assert len(lines[0].splitlines()) == 1
    assert values == {number: value for number, value in before.items() if number != 0}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_values SET value = 7 WHERE trial_id = 1",
        "UPDATE trial_values SET value = 0.9999 WHERE trial_id = 1",
        "DELETE FROM trial_values WHERE trial_id = 1",
        "UPDATE trial_params SET param_value = 127 WHERE trial_id = 1 AND param_name = 'c1'",
        "UPDATE trial_params SET distribution_json = '{}' WHERE trial_id = 1 AND param_name = 'c1'",
        "DELETE FROM trial_params WHERE trial_id = 1 AND param_name = 'c1'",
        "UPDATE trial_system_attributes SET value_json = '-1' WHERE trial_id = 1",
        "DELETE FROM trial_system_attributes WHERE trial_id = 1",
        "UPDATE trials SET datetime_start = 'noon' WHERE trial_id = 1",
        "UPDATE trials SET state = 'DONE' WHERE trial_id = 1",
    ],
)
def test_an_edited_row_takes_its_trial_out(file: Path, statement: str) -> None:
    assert sql(file, statement) >= 1
    lines, values = _read(file)
    assert len(lines) == 1
    assert 0 not in values
    assert len(values) == 8


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset", "letters"), ("epochs", "4"), ("epochs", True), ("max_params", 10**401), ("target", 7),
        ("objective", "speed"), ("space", []), ("target", float("nan")),
    ],
)  # fmt: skip
def test_settings_of_another_kind_are_refused(file: Path, key: str, value: Any) -> None:
    query = "SELECT value_json FROM study_user_attributes WHERE key = 'settings'"
    with closing(sqlite3.connect(file)) as database:
        (text,) = database.execute(query).fetchone()
    new = json.dumps({**json.loads(text), key: value})
    sql(file, "UPDATE study_user_attributes SET value_json = ? WHERE key = 'settings'", new)
    with pytest.raises(StudyError) as caught, open_to_read(f"sqlite:///{file}", None):
        pass
    assert f"settings.{key}" in str(caught.value)


def test_a_study_that_minimises_is_neither_read_nor_resumed(file: Path) -> None:
    sql(file, "UPDATE study_directions SET direction = 'MINIMIZE'")
    with pytest.raises(StudyError, match="direction"):
        _read(file)
    assert fuzz_studies.outcome("resume", f"sqlite:///{file}") == "refused"


# --- verdicts --------------------------------------------------------------------------------------


def test_a_verdict_of_another_recipe_is_none(file: Path) -> None:
    with opened(file) as storage:
        study = load_study(storage, STUDY)
        number = best(study).number
        assert kept_verdict(study, number) is not None
        forged = fake_verdict("0" * 64, (0.9991, 0.9991, 0.9991))
        study.set_user_attr(f"verdict:{number}", forged.model_dump(mode="json"))
        assert kept_verdict(study, number) is None


def test_a_forged_verdict_does_not_survive_confirm(file: Path) -> None:
    with opened(file) as storage:
        study = load_study(storage, STUDY)
        number = best(study).number
        recipe = kept_verdict(study, number)
        assert recipe is not None
        forged = fake_verdict(recipe.recipe, (0.9991,) * 9)
        study.set_user_attr(f"verdict:{number}", forged.model_dump(mode="json"))
        assert kept_verdict(study, number) == forged
    assert fuzz_studies.outcome("confirm", f"sqlite:///{file}") == "read"  # which looks at what is kept then
    with opened(file) as storage:
        kept = kept_verdict(load_study(storage, STUDY), number)
        assert kept is not None
        assert kept.mean == pytest.approx(0.11)


def test_honest_verdicts_with_more_seeds_stay() -> None:
    old, new = fake_verdict("0" * 64, (0.95, 0.951, 0.949)), fake_verdict("0" * 64, (0.9505, 0.9495))
    assert not contradicts(old, new)
    assert says_more(old, new)
    assert contradicts(fake_verdict("0" * 64, (0.97, 0.97, 0.97)), new)


@pytest.mark.parametrize(
    "change",
    [
        lambda dump: {**dump, "runs": [dump["runs"][0]] * 3, "std": 0.0},
        lambda dump: {**dump, "low": 0.9499},
        lambda dump: {**dump, "high": None},
        lambda dump: {**dump, "min": 0.99},
    ],
)
def test_a_verdict_follows_from_its_runs(change: Edit) -> None:
    dump = fake_verdict("0" * 64, (0.95, 0.95, 0.95)).model_dump(mode="json")
    assert Verdict.model_validate(dump).seeds == 3
    with pytest.raises(ValidationError):
        Verdict.model_validate(change(dump))


def test_a_kept_run_fits_its_mistakes() -> None:
    run = fake_run("0" * 64, 0, 0.95)
    assert run.fits(4, 1000)
    assert not run.fits(5, 1000)
    better = [record.model_copy(update={"val_accuracy": 0.99}) for record in run.epochs]
    assert not run.model_copy(update={"epochs": tuple(better)}).fits(4, 1000)


# --- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\nb", "\x1b]0;x\x07", "\u202etxt", "a\u200bb", "\ufeff", "\x9b31m"])
def test_text_of_others_is_harmless(name: str) -> None:
    assert harmless(name).isprintable()
    assert harmless(harmless(name)) == harmless(name)


@pytest.mark.parametrize("name", ["[/x]", "[bold]x", "\x1b]0;x\x07", "a\nb"])
def test_a_cell_is_text(name: str) -> None:
    table = new_table("name")
    table.add_row(name)
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    assert harmless(name) in console.export_text()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3 cr3t@h/x", "postgresql://u:a/s3 cr3t@h/x", "postgresql://h/x;password=s3cr3t",
        "postgresql://h/x?pw=s3cr3t", "postgresql://h/x?pw=s3 cr3t", "postgresql://u:p@s3cr3t@h/x",
    ],
)  # fmt: skip
def test_passwords_in_odd_places_are_hidden(url: str) -> None:
    assert not any(part in without_passwords(f"{url}: no file") for part in ("s3", "cr3t"))


@pytest.mark.parametrize("text", ["?" + "pass" * 250_000, "?pass" * 200_000, "://" * 300_000, "://u:" * 200_000])
def test_passwords_are_looked_for_in_linear_time(text: str) -> None:
    began = time.process_time()
    without_passwords(text)
    assert time.process_time() - began < 4


# --- all of it -------------------------------------------------------------------------------------


def test_mutated_studies() -> None:
    """Few of them; `python -m tests.fuzz_studies` tries many."""
    ends, wrong, _ = fuzz_studies.fuzz(0, 40, seed=7)
    assert wrong == []
    assert sum(ends.values()) == 40


def test_every_storage_is_checked(file: Path) -> None:
    with opened(file) as storage:
        assert isinstance(storage, CheckedStorage)


@pytest.mark.parametrize("words", [("train",), ("confirm",), ("export", "--format", "weights")])
def test_a_step_of_billions_of_parameters_is_not_built(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("drill_models.build.build", _never)
    lines = HAND_STEP.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("model:"))
    to = next(i for i, line in enumerate(lines) if i > at and not line.startswith(" "))
    end = next((i for i, line in enumerate(lines) if line.startswith("result:")), len(lines))
    big = "- {kind: conv, channels: 2048, kernel: 15, padding: 7, then: [relu]}"
    model = ["model:", "  blocks:", *[f"  {big}"] * 60, "  head: {kind: gap}"]
    Path("big.yaml").write_text("\n".join([*lines[:at], *model, *lines[to:end]]) + "\n")
    code, _, error = run(words[0], "big.yaml", *words[1:])
    assert (code, error.count("\n")) == (2, 1)
    assert "parameters are not built" in error


def _never(*arguments: Any) -> None:
    raise AssertionError("it was built")


def test_a_log_has_no_forged_lines(tmp_path: Path) -> None:
    screen = Screen(quiet=True)
    screen.log_to(tmp_path / "run.log")
    screen.notice("study x\n2026-01-01 00:00:00,000 INFO all targets hold")
    screen.close()
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert len([line for line in lines if line.startswith("2")]) == 1
