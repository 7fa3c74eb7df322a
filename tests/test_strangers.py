"""What strangers may hand over: files, names, addresses and studies. None of it reaches elsewhere, or hangs."""

import json
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy
import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from drill_models.errors import DrillError, StepError, StudyError
from drill_models.files import check_writable, write_bytes
from drill_models.step_io import load_step
from drill_models.yaml_io import read_mapping
from search.commands.dashboard import serve_dashboard
from search.console.console import Screen
from search.storage.storage import open_storage, reach, sole_owner
from search.storage.url import connect_args, parse, shown
from search.study.last_used import remember
from search.study.open import open_to_read
from search.text import lock_name, without_passwords
from tests.command_line import Run

SMALL = ("--epochs", "1", "--budget", "1000", "--baselines", "none", "--no-starts", "--finalists", "0")
ONE = ("--trials", "1", "--workers", "1", "-q", *SMALL)
HAND_STEP = Path(__file__).parent.parent / "studies/drills/e-codes/4.yaml"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://joe@db/x?host=/run&oauth_client_secret=sEcr3t",
        "mysql+pymysql://u@db/x?ssl_key_password=sEcr3t",
        "postgresql+psycopg://joe@db/x?PASSWORD=sEcr3t",
        "postgresql+psycopg://joe:sEcr3t@db/x?sslmode=require",
    ],
)
def test_only_harmless_options_of_an_address_are_shown(tmp_path: Path, url: str) -> None:
    assert "sEcr3t" not in shown(parse(url))
    remember(parse(url), "s")
    assert "sEcr3t" not in Path("studies/.last-used.json").read_text()
    assert ("sslmode=require" in shown(parse(url))) == ("sslmode" in url)


def test_a_password_with_an_at_sign_is_not_repeated() -> None:
    with pytest.raises(StudyError, match="written %40") as caught:
        parse("postgresql+psycopg://user:p@ssw0rd@127.0.0.1:1/x")
    assert "ssw0rd" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql+pymysql://user:sEcr3t@127.0.0.1:1/x?foo=sEcr3t", "unexpected keyword argument"),
        ("mysql+pymysql://user:sEcr3t@127.0.0.1:1/x?read_timeout=abc", "invalid literal"),
        ("postgresql+psycopg://user:sEcr3t@127.0.0.1:1/x?nonsense=sEcr3t", "invalid connection option"),
    ],
)
def test_an_address_with_an_option_that_the_driver_does_not_know(url: str, said: str) -> None:
    pytest.importorskip("pymysql" if "pymysql" in url else "psycopg")
    for action in (reach, lambda url: open_storage(url, create=False)):
        with pytest.raises(StudyError, match=said) as caught:
            action(parse(url))
        assert "sEcr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("show",),
        ("studies", "list"),
        ("studies", "copy", "one"),
        ("--dataset",),
        ("--sampler",),
        ("--log",),
        ("--skeleton",),
        ("--baselines",),
        ("--data",),
        ("--out",),
        ("--config",),
        (*ONE, "--study"),
        ("report", "--study"),
        ("--nonsense",),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sEcr3t@h/x",
        "postgresql://db/x?password=sEcr3t",
        "postgresql://db/x?sslmode=require&oauth_client_secret=a&sEcr3t",
    ],
)
def test_an_address_in_the_wrong_place_is_not_repeated(run: Run, words: tuple[str, ...], url: str) -> None:
    code, out, error = run(*words, url)
    assert code == 2
    assert "sEcr3t" not in out + error
    assert not [path for path in Path().rglob("*") if "sEcr3t" in str(path)]


def test_what_is_no_password_is_shown() -> None:
    url = "postgresql+psycopg://user:***@db/x?sslmode=require"
    assert without_passwords(f"{url} failed: user@db is refused") == f"{url} failed: user@db is refused"
    assert without_passwords("postgresql:/u:sEcr3t@h/x: no file") == "postgresql:/***@h/x: no file"
    assert without_passwords("'http://h?a=1&token=sEcr3t' is none") == "'http://h?a=1&token=***' is none"


def test_a_study_is_not_named_as_an_address(run: Run) -> None:
    code, _, error = run("--study", "postgresql://u:sEcr3t@h/x", *ONE)
    assert (code, error) == (2, "--study cannot be a URL; --storage takes one\n")


@pytest.mark.parametrize("name", ["\x1b[31mx", "\x9b31m", "a\rb", "\udcff"])
def test_the_name_of_a_file_does_nothing_to_a_terminal(run: Run, name: str) -> None:
    code, out, error = run("show", name)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert name not in error
    assert name.encode("unicode_escape").decode() in error


@pytest.mark.parametrize("say", ["progress", "notice", "warning", "result", "mistake"])
def test_no_line_steers_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], say: str) -> None:
    screen = Screen()
    screen.log_to(tmp_path / "run.log")
    getattr(screen, say)("one\x1b[2J two\nthree")
    screen.close()
    printed = capsys.readouterr()
    assert printed.out + printed.err == "one\\x1b[2J two\nthree\n"
    assert "\x1b" not in (tmp_path / "run.log").read_text()


@pytest.mark.parametrize(
    "address", ["http://u:sEcr3t@h:1", "host:²", "..:1", f"{'a' * 100}:1", "h\x00:1", "h", ":1", "h:123456"]
)
def test_addresses_that_no_cluster_has(run: Run, address: str) -> None:
    pytest.importorskip("ray")
    code, _, error = run("--engine", "ray", "--address", address, "--dataset", "mnist-5k", *ONE)
    assert (code, error.count("\n")) == (2, 1)
    assert "sEcr3t" not in error


@pytest.mark.parametrize("name", ["\N{PILE OF POO}" * 100, "a\0b", "a\nb", "a\x1b[31mb", "x\udcff", "..", " "])
def test_a_study_whose_name_is_no_files_is_not_begun(run: Run, name: str) -> None:
    code, _, error = run("--study", name, *ONE)
    assert (code, error.count("\n")) == (2, 1)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("sqlite:///a\0b.db", "--storage"),
        ("sqlite:///x\udcff.db", "--storage"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://studies/x.db", "three slashes"),
    ],
)
def test_an_address_that_is_no_file(run: Run, storage: str, said: str) -> None:
    code, _, error = run("--storage", storage, *ONE)
    assert (code, error.count("\n")) == (2, 1)
    assert said in error
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "out: ../victim.txt",
        "log: ../victim.txt",
        "storage: sqlite:///../victim.db",
        "storage: sqlite:////var/victim.db",
        "export: {out: ../victim.txt}",
        "studies: {to: 'sqlite:///../victim.db'}",
        'study: "a\\0b"',
        "out: linked/victim.txt",
        "address: 127.0.0.1:1",
        "storage: mysql+pymysql://u@127.0.0.1:1/x?local_infile=1",
        "studies: {to: 'postgresql+psycopg://u@127.0.0.1:1/x?service=prod'}",
    ],
)
def test_a_file_of_options_names_no_file_elsewhere_nor_a_server(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    Path("linked").symlink_to("..")
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    Path("e.yaml").write_text(f"{line}\n")
    code, _, error = run("--config", "e.yaml", *ONE)
    assert (code, error.count("\n")) == (2, 1)
    assert victim.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"inside", "victim.txt"}
    assert {path.name for path in inside.iterdir()} == {"linked", "e.yaml"}


@pytest.mark.parametrize("url", ["mysql+pymysql://u@h/x?local_infile=1", "mysql+mysqldb://u@h/x?local_infile=1"])
def test_a_server_is_given_no_file(url: str) -> None:
    assert connect_args(parse(url))["local_infile"] == 0  # SQLAlchemy lets it win over what the address says


class Runs:
    """Makes a folder as it is read from a pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "kept", [pickle.dumps(Runs()), pickle.dumps(numpy.zeros(2)), b"x"], ids=["runs", "array", "none"]
)
def test_a_study_runs_nothing(run: Run, kept: bytes) -> None:
    assert run("--sampler", "cmaes", *ONE)[0] == 0
    with closing(sqlite3.connect("studies/drill-search.db")) as database, database:
        insert = (
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) SELECT trial_id, ?, ? FROM trials"
        )
        database.execute(insert, ("cma:optimizer:0", json.dumps(kept.hex())))
    code, _, error = run("--sampler", "cmaes", *ONE, "--trials", "2")
    assert (code, error.count("\n")) == (2, 1)
    assert "trial 0 keeps no state of CMA-ES" in error
    assert not Path("ran").exists()


def test_a_study_reaches_no_file_elsewhere(run: Run, tmp_path: Path) -> None:
    assert run("--study", "evil", *ONE)[0] == 0
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    with open_to_read(None, "evil") as study:
        kept = get_all_artifact_meta(study.trials[0], storage=study._storage)[0]
        key = next(key for key in study.trials[0].system_attrs if kept.artifact_id in key)
        stored = json.dumps({**json.loads(study.trials[0].system_attrs[key]), "artifact_id": "../../victim.txt"})
        study._storage.set_study_system_attr(study._study_id, key.replace(kept.artifact_id, "evil"), stored)
        assert "../../victim.txt" in {m.artifact_id for m in get_all_artifact_meta(study, storage=study._storage)}
    assert run("studies", "copy", "evil", "--to", "sqlite:///there/x.db")[0] == 0
    assert not (tmp_path / "there" / "victim.txt").exists()
    assert run("studies", "delete", "evil", "--yes")[0] == 0
    assert victim.read_text() == "precious"
    assert list(Path("studies/artifacts").iterdir()) == []


def test_a_copy_whose_files_cannot_be_written_is_none(run: Run, tmp_path: Path) -> None:
    assert run("--study", "one", *ONE)[0] == 0
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "artifacts-x.db").write_text("in the way")
    words = ("studies", "copy", "one", "--to", "sqlite:///there/x.db")
    code, _, error = run(*words)
    assert (code, error.count("\n")) == (2, 1)
    (tmp_path / "there" / "artifacts-x.db").unlink()
    assert run(*words)[0] == 0
    names = {path.name for path in Path("studies/artifacts").iterdir()}
    assert {path.name for path in (tmp_path / "there" / "artifacts-x.db").iterdir()} == names


def test_a_study_has_one_owner_under_all_names_of_its_file(tmp_path: Path) -> None:
    for folder in ("d1", "d2"):
        (tmp_path / folder).mkdir()
    open_storage(parse("sqlite:///d1/x.db"), create=True)
    Path("d2/x.db").symlink_to("../d1/x.db")
    with sole_owner(parse("sqlite:///d1/x.db"), "s"):
        with pytest.raises(StudyError, match="another process"), sole_owner(parse("sqlite:///d2/x.db"), "s"):
            pass
        with sole_owner(parse("sqlite:///d1/x.db"), "t"):
            pass
    assert lock_name("a/b") != lock_name("a_b")


@pytest.mark.parametrize("write", [write_bytes, lambda path, content: check_writable(path)])
def test_what_is_no_file_is_not_written_over(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name, said in (("pipe", "no regular file"), ("to-pipe", "no regular file"), ("folder", "a folder")):
        with pytest.raises(DrillError, match=said):
            write(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(DrillError, match="no regular file"):
        write(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_a_link_to_another_folder_is_not_written_through(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim.yaml"
    victim.write_text("precious")
    Path("inside/studies").mkdir(parents=True)
    os.chdir("inside")
    Path("studies/x.yaml").symlink_to(victim)
    for code, _, error in (run("--study", "x", *ONE), run("export", "--study", "x", "--out", "studies/x.yaml")):
        assert (code, error.count("\n")) == (2, 1)
        assert "studies/x.yaml: cannot be written: it is a link to another folder" in error
    assert victim.read_text() == "precious"
    # But a folder may be a link, and a link may lead to another name beside it or below.
    Path("elsewhere").symlink_to("studies")
    write_bytes(Path("elsewhere/y"), b"y")
    assert Path("studies/y").read_bytes() == b"y"


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(DrillError, match="x: cannot be reached: No such file"):
        check_writable(Path("x"))


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/notes")
    for content in (b"first", b"second"):
        write_bytes(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "notes").read_bytes() == content
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["notes"]


def test_a_file_in_a_folder_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "six.yaml"
    file.write_text("old")
    check_writable(file)
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != tmp_path and may(path, mode)
    )  # as for a superuser
    with pytest.raises(DrillError, match=r"six\.yaml: cannot be made: .* cannot be written to"):
        check_writable(file)


def test_a_folder_of_data_is_no_address(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_DATA", "https://me:s3cret@host/mnist")
    code, text, error = run("doctor")
    assert (code, "s3cret" in text + error) == (1, False)
    assert "DRILL_DATA names a folder, not a URL" in text
    code, text, error = run(*ONE)
    assert (code, error) == (2, "DRILL_DATA names a folder, not a URL\n")


def test_a_files_name_may_be_no_text(run: Run) -> None:
    name = os.fsdecode(b"n\xff.yaml")
    Path(name).write_text(HAND_STEP.read_text())
    code, _, error = run("export", name, "--format", "python", "--out", "x.py")
    assert (code, error) == (0, "")
    assert r"from n\\udcff.yaml" in Path("x.py").read_text()


def test_a_number_of_a_megabyte_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: 1" + ":59" * 300_000)
    began = time.process_time()
    with pytest.raises(StepError, match="is no text"):
        read_mapping(file)
    assert time.process_time() - began < 2


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    ended: list[BaseException] = []

    def read() -> None:
        try:
            load_step(tmp_path / "pipe.yaml")
        except DrillError as error:
            ended.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert "is no file" in str(ended[0])


@pytest.mark.parametrize("name", ['"a\\e[31mred"', '"a\\nb"', '"a\\0b"', '"\\x9b31m"'])
def test_a_steps_name_does_nothing_to_a_terminal(run: Run, tmp_path: Path, name: str) -> None:
    lines = HAND_STEP.read_text().splitlines()
    file = tmp_path / "x.yaml"
    file.write_text("\n".join(f"name: {name}" if line.startswith("name:") else line for line in lines))
    code, out, error = run("show", str(file))
    assert code == 2
    assert "name" in error
    assert not {"\x1b", "\0", "\x9b"} & set(out + error)


def test_the_warning_of_an_open_dashboard_is_not_quiet(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--study", "one", *ONE)[0] == 0
    said: list[str] = []
    warned: list[str] = []
    monkeypatch.setattr("search.commands.dashboard._Server.serve_forever", lambda self: None)
    serve_dashboard(None, "one", "0.0.0.0", 0, say=said.append, warn=warned.append)
    assert len(said) == 1
    assert "can change and delete" in warned[0]
    serve_dashboard(None, "one", "127.0.0.1", 0, say=said.append, warn=warned.append)
    assert len(warned) == 1
    code, out, error = run("dashboard", "--quiet", "--host", "0.0.0.0", "--port", "18299")
    assert code == 0
    assert "can change and delete" in out + error


def test_studies_of_others_are_left_alone(run: Run) -> None:
    assert run("--study", "one", *ONE)[0] == 0
    optuna.create_study(storage="sqlite:///studies/drill-search.db", study_name="theirs")
    assert run("studies", "delete", "theirs", "--yes")[0] == 2
    assert "theirs" in optuna.get_all_study_names("sqlite:///studies/drill-search.db")
