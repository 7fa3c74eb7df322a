"""Mutated SQLite studies: whatever stands in one, only a `DrillError` may come out, and no green badge.

    python -m tests.fuzz_studies --inputs 200000 --processes 2 --seed 0

Each input is a small study, changed in a few places: attributes, parameters, values, distributions, states, names,
files. It is listed, reported on, exported, confirmed (with trainings that are made up) and gone on with. What ends
otherwise than by a `DrillError`, takes over ten seconds, or calls a target held where the best trial's curve does
not give it, is printed with the number by which `--only` makes it again; the exit code is then 1.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
from optuna.trial import TrialState
from rich.console import Console

from drill_models.errors import DrillError
from drill_models.resolve import DataSource
from drill_models.run import with_verdict
from search.commands import confirm as confirm_job
from search.commands.export import ExportJob, export_trials
from search.config import TrainingOptions
from search.console.console import Screen
from search.console.trial_tables import best_table, study_table
from search.engine.warm_start import seed_baselines
from search.evaluation.confirm import Confirmed
from search.evaluation.statistics import make_verdict
from search.report import html_report as report
from search.sampling.budget import BudgetSampler, base_sampler
from search.storage.storage import storage_errors
from search.storage.url import parse
from search.study.coordination import OnlyProcess
from search.study.manage import all_studies
from search.study.open import open_to_read
from search.study.ranking import best
from search.study.session_log import sittings
from search.study.study import kept_verdict, open_study, read_space
from search.study.trials import curve
from spaces.budgeted import BudgetedSpace
from spaces.skeletons import load_skeletons
from tests.made_studies import BUDGET, STUDY, fake_run, make, opened, settings

SLOW = 10.0
"""Seconds."""

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 10**9, 10**30, 10**401, -(10**401), 0.5, 1e308, float("inf"), float("-inf"),
    float("nan"), "", "x", "x" * 300, "a\nb", "\x1b]0;x\x07", "[/x]", "[bold]", "\u202etxt", "a\u200bb", "\ud800",
    "../../etc/passwd", "mnist", "MNIST", "drill1", [], {}, [[]], [1], [None], [[1, 2, 3]], {"a": 1}, {"": {}},
    ["x", 2], "2024-13-01", "NaN",
)  # fmt: skip
RAW = ("", "{", "[" * 100_000, "nul", "NaN", "Infinity", "1e999", '"\\ud800"', "9" * 5000, b"\xff\xfe", 5, 1.5)
"""What is no JSON, or no text."""

TABLES = {
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
    "study_user_attributes": ("key", "value_json"),
    "study_system_attributes": ("key", "value_json"),
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_values": ("objective", "value", "value_type"),
    "trial_intermediate_values": ("step", "intermediate_value", "intermediate_value_type"),
    "trials": ("number", "state", "datetime_start", "datetime_complete"),
    "studies": ("study_name",),
    "study_directions": ("direction", "objective"),
}
WEIGHTS = (10, 5, 10, 2, 4, 3, 1, 2, 1, 1)


def _inside(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """A value with one place in it changed."""
    if depth > 6 or chance.random() < 0.15 or not isinstance(value, dict | list) or not value:
        if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.4:
            return chance.choice((value + 1, -value, value * 2, value / 2, value * 1.0001, str(value)))
        return chance.choice(HOSTILE)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                return value[:at]
            case 1:
                return [*value, value[at]]
        return [*value[:at], _inside(chance, value[at], depth + 1), *value[at + 1 :]]
    key = chance.choice(list(value))
    match chance.randrange(10):
        case 0:
            return {k: v for k, v in value.items() if k != key}
        case 1:
            return {**value, str(chance.choice(HOSTILE)): chance.choice(HOSTILE)}
    return {**value, key: _inside(chance, value[key], depth + 1)}


def _cell(chance: random.Random, column: str, old: Any) -> Any:
    """Another content of a cell."""
    if column.endswith("_json") and isinstance(old, str) and chance.random() < 0.85:
        try:
            new = _inside(chance, json.loads(old))
            if isinstance(new, dict) and chance.random() < 0.3:
                new = _inside(chance, new)
            return json.dumps(new)
        except (ValueError, RecursionError, OverflowError):
            return chance.choice(RAW)
    if column.endswith("_json"):
        return chance.choice(RAW)
    if column in ("key", "param_name", "study_name") and chance.random() < 0.7:
        texts = ("x", "", "a\nb", "\x1b]0;x\x07", "[/x]", "rerun:x", "rerun:1:", "verdict:", "verdict:99",
                 "sitting:",
                 "sitting:x", "c1", "skeleton", "curve", "a" * 500, "\u202ex", "settings", "artifacts:x",
                 "dashboard:note_ver", "constraints:x", "fixed_params", "finals", "s/t", "..")  # fmt: skip
        return chance.choice(texts)
    if column in ("state", "direction", "value_type", "intermediate_value_type"):
        return chance.choice(
            ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING", "MINIMIZE", "MAXIMIZE", "NOT_SET", "INF_POS",
             "INF_NEG", "FINITE", "NAN", "x", "", 1)
        )  # fmt: skip
    return chance.choice(
        (0, 1, -1, 7, 0.999, 0.1, 99, 2**63 - 1, -(2**62), 1e300, "x", "", 1e-300, "2024-01-01 00:00:00.000000")
    )


def mutate(file: Path, chance: random.Random) -> list[str]:
    """Changes one to four places; returns which, for a person."""
    said = []
    with closing(sqlite3.connect(file)) as database:
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            (table,) = chance.choices(list(TABLES), WEIGHTS)
            column = chance.choice(TABLES[table]) if chance.random() < 0.4 else TABLES[table][-1]
            if table in ("trials", "trial_values", "trial_params"):
                column = chance.choice(TABLES[table])
            rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
            if not rows:
                continue
            row, old = chance.choice(rows)
            try:
                if chance.random() < 0.08:
                    database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
                    said.append(f"{table} {row}: deleted")
                else:
                    new = _cell(chance, column, old)
                    database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))
                    said.append(f"{table}.{column} {row}: {str(old)[:100]!r} -> {str(new)[:200]!r}")
            except (sqlite3.Error, OverflowError, UnicodeEncodeError):
                continue
        database.commit()
    return said


# --- what is done with a study ---------------------------------------------------------------------


def _screen() -> Screen:
    return Screen(out=Console(file=StringIO(), width=200), err=Console(file=StringIO(), width=200), json=True)


def _list(url: str) -> None:
    screen = _screen()
    screen.json = False
    found = all_studies(parse(url), None, screen.warning)
    screen.table(study_table(found))
    json.dumps([one.document() for one in found])


def _report(url: str) -> None:
    with open_to_read(url, None) as study:
        screen = _screen()
        screen.json = False
        screen.table(best_table(study))
        with mock.patch.object(report, "svg", return_value=""), mock.patch.multiple(
            report, curves_chart=mock.DEFAULT, size_chart=mock.DEFAULT, spent_chart=mock.DEFAULT,
            importance_chart=mock.DEFAULT,
        ):  # fmt: skip
            page = report.page_of(study, parse(url), DataSource(folder=Path("none"), offline=True))
        if page["holds"]:
            _assert_green(study)


def _assert_green(study: optuna.Study) -> None:
    """Fails where curve or network do not give what is said.

    Raises:
        AssertionError: They do not.
    """
    trial = best(study)
    last = [record.val_accuracy for record in curve(trial)][-3:]
    assert abs(trial.values[0] - sum(last) / len(last)) < 1e-5, "green without a curve"
    assert BUDGET.admits(read_space(study).model(trial.params)), "green above the budget"


def _export(url: str) -> None:
    training = TrainingOptions()
    job = ExportJob(form="yaml", training=training, to=Path("out.yaml"), screen=_screen())
    export_trials(job, url, None, (), front=False)


def _confirm(url: str) -> None:
    def made(steps: Any, job: Any, screen: Any) -> tuple[Confirmed, ...]:
        runs = [tuple(fake_run(step.digest, seed, 0.11) for seed in range(2)) for step in steps]
        return tuple(
            Confirmed(step=with_verdict(step, make_verdict(run)), runs=run, n_images=1000)
            for step, run in zip(steps, runs, strict=True)
        )

    job = confirm_job.ConfirmJob(seeds=2, seed=0, training=TrainingOptions())
    with mock.patch.object(confirm_job, "_confirm", made), mock.patch.object(confirm_job, "publish_verdicts"):
        confirm_job.confirm_trials(url, None, 1, Path("out2.yaml"), job, _screen())
    with open_to_read(url, None) as study:
        verdict = kept_verdict(study, best(study).number)
        assert verdict is None or verdict.mean < 0.5, "a verdict outlives what was measured"


def _resume(url: str) -> None:
    with storage_errors(parse(url)), opened(Path(url.removeprefix("sqlite:///"))) as storage:
        study = open_study(
            storage,
            STUDY,
            settings(),
            load_skeletons(),
            optuna.samplers.RandomSampler(),
            optuna.pruners.NopPruner(),
        )
        space = read_space(study)
        study.sampler = BudgetSampler(base_sampler("tpe", 1), BudgetedSpace(space, BUDGET))
        OnlyProcess().requeue_dead(study)
        seed_baselines(study, [], space, BUDGET, epochs=4)
        sittings(study)
        trial = study.ask(dict(space.distributions))
        assert BUDGET.admits(space.model(trial.params))
        study.tell(trial, state=TrialState.FAIL)


ACTIONS = {"list": _list, "report": _report, "export": _export, "confirm": _confirm, "resume": _resume}


def outcome(action: str, url: str) -> str:
    """How it ended: "read", "refused", or an exception's name and place."""
    began = time.monotonic()
    end = "read"
    try:
        ACTIONS[action](url)
    except DrillError as error:
        end = "refused" if len(str(error).splitlines()) == 1 else f"several lines: {error}"
    except Exception as error:
        end = f"{type(error).__name__}: {str(error)[:300]}\n" + "".join(
            traceback.format_tb(error.__traceback__)[-4:]
        )
    seconds = time.monotonic() - began
    return end if seconds < SLOW else f"took {seconds:.0f} s"


def fuzz(first: int, last: int, seed: int, *, show: bool = False) -> tuple[Counter[str], list[str], float]:
    """Tries the studies of numbers from one up to another.

    Returns:
        How many ended how; what ended otherwise than it may; the process's largest memory in MB.
    """
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ends, wrong = Counter[str](), []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for which in ("one", "two"):
            make(folder / f"{which}.db", pareto=which == "two")
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        try:
            for number in range(first, last):
                chance = random.Random(f"{seed}/{number}")
                shutil.copy(folder / chance.choice(("one.db", "one.db", "two.db")), "x.db")
                said = mutate(Path("x.db"), chance)
                action = chance.choice(list(ACTIONS))
                if show:
                    print(action, *said, sep="\n")
                end = outcome(action, "sqlite:///x.db")
                ends[f"{action} {end if end in ('read', 'refused') else 'WRONG'}"] += 1
                if end not in ("read", "refused"):
                    wrong.append(f"--seed {seed} --only {number} ({action}): {end}")
            outside = sorted(path.name for path in folder.iterdir())
            if outside != ["one.db", "two.db", "work"]:
                wrong.append(f"files outside of the folder: {outside}")
        finally:
            os.chdir(before)
    return ends, wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this one alone, and what is changed in it")
    arguments = parser.parse_args()
    if arguments.only is not None:
        ends, wrong, _ = fuzz(arguments.only, arguments.only + 1, arguments.seed, show=True)
        print(dict(ends), *wrong, sep="\n")
        return len(wrong)
    part, total, ends, most, count = 500, arguments.first + arguments.inputs, Counter[str](), 0.0, 0
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        calls = [
            pool.apply_async(fuzz, (start, min(start + part, total), arguments.seed))
            for start in range(arguments.first, total, part)
        ]
        for call in calls:
            found, wrong, megabytes = call.get()
            ends += found
            most, count = max(most, megabytes), count + len(wrong)
            print(f"{sum(ends.values()):,} inputs, {count} wrong, {most:.0f} MB", *wrong, sep="\n", flush=True)
    print(dict(sorted(ends.items())))
    return 1 if count or most > 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
