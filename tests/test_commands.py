"""How commands speak: JSON, quiet, verbose, a log; options from a file; studies; doctor."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from drill_models.datasets import dataset_facts
from drill_models.errors import DrillError
from drill_models.resolve import DataSource
from search.commands.doctor import LIBRARIES, Finding, examine
from search.console.console import Screen
from search.storage.url import parse
from search.study.last_used import remember
from search.study.manage import all_studies
from search.study.open import open_to_read
from search.study.session_log import sittings
from tests.command_line import Run

ROOT = Path(__file__).parent.parent
SIZES = ("--trials", "2", "--epochs", "1", "--budget", "2000")
SMALL = (*SIZES, "--baselines", "none", "--no-starts", "--workers", "1")
NAME = "mnist-5k-2000-drill2-1epochs"


def test_search_in_json(run: Run) -> None:
    code, text, error = run(*SMALL, "--json")
    assert code == 0
    document = json.loads(text)
    assert document["study"] == NAME
    assert document["trials"]["complete"] == 2
    assert document["best"][0]["n_params"] <= 2000
    assert document["exported"] == f"studies/{NAME}.yaml"
    assert document["found"] == document["best"][0]
    assert document["holds"] is False
    assert "the target of 99.40% does not hold on the validation images of mnist-5k" in document["said"]
    assert "[2/2" in error


def test_every_table_has_a_document(run: Run) -> None:
    assert run(*SMALL, "-q")[0] == 0
    step = str(ROOT / "studies/drills/a-runs/5.yaml")
    (shown,) = json.loads(run("show", step, "--json")[1])
    assert shown["table"]["n_params"] == 9816
    (listed,) = json.loads(run("studies", "--json")[1])
    assert listed["settings"]["max_params"] == 2000
    assert listed == json.loads(run("studies", "list", NAME, "--json")[1])[0]
    (trained,) = json.loads(run("train", f"studies/{NAME}.yaml", "--json")[1])
    assert len(trained["result"]["run"]["epochs"]) == 1
    code, text, error = run("confirm", f"studies/{NAME}.yaml", "--seeds", "2", "--json", "--offline")
    assert code == 0, error
    assert json.loads(text)["steps"][0]["verdict"]["seeds"] == 2
    frontier = json.loads(run("frontier", *SMALL, "--target", "0.01", "--seeds", "1", "--json")[1])
    assert frontier["settings"]["objective"] == "pareto"
    assert frontier["finished"]
    assert frontier["front"]
    findings = json.loads(run("doctor", "--json", "--offline")[1])
    assert {finding["state"] for finding in findings} == {"ok", "missing"}


def test_json_for_every_command_by_a_file_of_options(run: Run) -> None:
    Path("pyproject.toml").write_text("[tool.drill-search]\njson = true\n")
    assert json.loads(run(*SMALL)[1])["study"] == NAME
    step = f"studies/{NAME}.yaml"
    documents = {}
    for words in (
        ("show", step),
        ("schema",),
        ("schema", "--out", "s.json"),
        ("report",),
        ("export", "--out", "six.yaml"),
        ("studies", "copy", NAME, "again"),
        ("studies", "delete", "again", "--yes"),
        ("studies",),
        ("doctor", "--offline"),
    ):
        code, text, error = run(*words)
        assert code == 0, error
        documents[" ".join(words)] = json.loads(text)
    assert documents["studies copy " + NAME + " again"] == {
        "results": [f"copied study {NAME} to again in sqlite:///studies/drill-search.db"]
    }
    assert documents["export --out six.yaml"] == {"results": ["written to six.yaml"]}
    code, text, _ = run("show", "nope.yaml")
    assert (code, text) == (2, "")


def test_every_command_can_be_quiet_and_has_a_log(run: Run) -> None:
    assert run("show", str(ROOT / "studies/drills/a-runs/5.yaml"), "-q", "--log", "run.log")[0] == 0
    assert "9,816 parameters" in Path("run.log").read_text()
    assert run("schema", "--out", "s.json", "-q", "--log", "run.log")[0] == 0
    assert Path("run.log").read_text().endswith("INFO written to s.json\n")
    run("doctor", "--offline", "-q", "--log", "doctor.log")
    assert "torchvision" in Path("doctor.log").read_text()
    assert run(*SMALL, "-q")[0] == 0
    assert run("studies", "copy", NAME, "again", "-q", "--log", "one.log")[0] == 0
    Path("own.yaml").write_text("studies: {log: one.log}\n")
    assert run("--config", "own.yaml", "studies", "delete", "again", "--yes")[0] == 0
    assert Path("one.log").read_text().count("deleted study again") == 1


def test_a_study_is_not_deleted_without_an_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*SMALL, "-q")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, error = run("studies", "delete", NAME)
    assert code == 2
    assert error.splitlines()[1:] == ["nothing was deleted: there was no answer; --yes deletes without a question"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("studies", "delete", NAME)[0] == 2
    assert NAME in run("studies")[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run("studies", "delete", NAME)[0] == 0
    assert NAME not in run("studies")[1]


def test_quiet_and_verbose_and_the_log(run: Run) -> None:
    code, text, error = run(*SMALL, "--quiet", "--log", "run.log")
    assert (code, error) == (0, "")
    assert "trial 0" not in text
    assert "step 6 written" in text
    logged = Path("run.log").read_text()
    assert "trial 0" in logged
    assert "step 6 written" in logged
    code, text, _ = run(*SMALL[2:], "--trials", "3", "--verbose")
    assert "epoch  1/1  train" in text
    code, _, error = run(*SMALL, "--log", "nowhere/run.log")
    assert code == 2
    assert "nowhere/run.log: cannot be written" in error


def test_no_control_characters_in_a_pipe(run: Run) -> None:
    for words in ((*SMALL, "-v"), ("studies",), ("show", f"studies/{NAME}.yaml"), ("doctor", "--offline")):
        _, text, error = run(*words)
        assert not [c for c in text + error if ord(c) < 32 and c != "\n"], words


def test_options_from_a_file(run: Run) -> None:
    Path("pyproject.toml").write_text(
        '[tool.drill-search]\nbudget = 2000\ntrials = 1\nepochs = 1\nbaselines = ["none"]\nmax_macs = 900000\n'
        "[tool.drill-search.confirm]\nseeds = 7\n"
    )
    code, text, _ = run("--workers", "1")
    assert code == 0
    assert "at most 2,000 parameters, 900,000 multiply-adds, 1 epoch," in text
    # What is typed wins, and another file stands in place of pyproject.toml.
    assert "at most 1,500 parameters" in run("--workers", "1", "--budget", "1500")[1]
    Path("own.yaml").write_text("budget: 1800\ntrials: 1\nepochs: 1\nbaselines: none\nstarts: false\n")
    code, text, error = run("--config", "own.yaml", "--workers", "1")
    assert code == 0, error
    assert "at most 1,800 parameters, 1 epoch," in text
    assert "starting points" not in text


def test_a_files_options_reach_the_commands_below_a_command(run: Run) -> None:
    for section in ("{storage: 'sqlite:///a.db'}", "{list: {storage: 'sqlite:///a.db'}}"):
        Path("own.yaml").write_text(f"studies: {section}\nexport:\n")
        code, _, error = run("--config", "own.yaml", "studies", "list")
        assert code == 2
        assert "there is no study database a.db" in error


def test_options_of_data_and_training_reach_every_command(run: Run) -> None:
    step = str(ROOT / "studies/drills/a-runs/5.yaml")
    Path("pyproject.toml").write_text('[tool.drill-search]\ndevice = "tpu"\nstorage = "sqlite:///studies/x.db"\n')
    for words in ((), ("train", step), ("confirm", step), ("baselines",), ("export", step), ("frontier",)):
        code, _, error = run(*words, "--budget", "2000") if words in ((), ("frontier",)) else run(*words)
        assert (code, "--device must be one of auto, cpu, cuda, got 'tpu'" in error) == (2, True), words
    assert "there is no study database studies/drill-search.db" in run("studies")[2]
    Path("pyproject.toml").write_text(
        '[tool.drill-search]\ndevice = "tpu"\n[tool.drill-search.train]\ndevice = "x"\n'
    )
    assert "got 'x'" in run("train", step)[2]
    assert "got 'tpu'" in run("train", step, "--device", "tpu")[2]


def test_baselines_in_a_file_are_an_option_or_a_command(run: Run) -> None:
    Path("pyproject.toml").write_text('[tool.drill-search]\nbaselines = ["none"]\n')
    assert "there is no such ladder" in run("baselines", "nope")[2]
    Path("pyproject.toml").write_text("[tool.drill-search.baselines]\nseeds = 2\n")
    assert "has 294 parameters" in run("--budget", "100")[2]


def test_a_broken_file_withholds_no_help(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text("[tool\n")
    assert run("studies")[0] == 2
    code, text, _ = run("doctor", "--help")
    assert code == 0
    assert "--offline" in text
    code, text, error = run("doctor", "--offline")
    assert (code, error) == (1, "")
    assert "!!  options           pyproject.toml: cannot be read" in text
    assert "torchvision" in text
    Path("pyproject.toml").write_text("tool = 3\n")
    assert "there is no study database" in run("studies")[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bugdet: 5", "own.yaml: there is no option bugdet; did you mean budget?"),
        ("xyz: 5", "own.yaml: there is no option xyz; allowed: baselines, budget"),
        ("budget: {a: 1}", "own.yaml: budget must be a value or a list, got a mapping"),
        ("confirm: {nonsense: 1}", "own.yaml: confirm: there is no option nonsense; allowed: data"),
        ("budget: many", "own.yaml: budget: "),
        ("budget: yes", "own.yaml: budget must not be true"),
        ("no-starts: true", "there is no option no-starts; did you mean starts?"),
        ("show-completion: true", "there is no option show-completion"),
        ("studies: {list: {nonsense: 1}}", "own.yaml: studies: list: there is no option nonsense"),
        ("- 1", "own.yaml: must be a mapping"),
        ("a: *b", "own.yaml: is not readable YAML"),
    ],
)
def test_mistakes_in_a_file(run: Run, content: str, message: str) -> None:
    Path("own.yaml").write_text(content)
    code, _, error = run("--config", "own.yaml")
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_broken_project_file(run: Run) -> None:
    Path("pyproject.toml").write_text("[tool.drill-search\n")
    code, _, error = run("--budget", "2000")
    assert code == 2
    assert "pyproject.toml: cannot be read" in error


def test_studies_are_listed_copied_and_deleted(run: Run) -> None:
    assert "there is no study database" in run("studies")[2]
    assert run(*SMALL)[0] == 0
    text = run("studies", "list", NAME)[1]
    assert "drill-search --budget 2000 --trials 2 --epochs 1 --baselines none" in text
    assert "sampler tpe" in text
    assert "\n  used: mnist-5k, in place of data that were not there\n  backend: " in text
    assert run("studies", "copy", NAME, "again")[0] == 0
    assert run("studies", "copy", NAME, "--to", "sqlite:///elsewhere/x.db")[0] == 0
    files = {path.name for path in Path("studies/artifacts").iterdir()}
    assert len(files) == 2 * 3  # step, curve, weights
    assert {path.name for path in Path("elsewhere/artifacts-x.db").iterdir()} == files
    code, _, error = run("studies", "copy", NAME, "again")
    assert code == 2
    assert "there is a study again" in error
    # An option before its command would be of another storage than the one that is deleted from.
    code, _, error = run("studies", "--storage", "sqlite:///elsewhere/x.db", "delete", NAME, "--yes")
    assert (code, error) == (2, "--storage stands before delete; options follow their command\n")
    # Files go with the last study that has them.
    assert run("studies", "delete", NAME, "--yes")[0] == 0
    assert {path.name for path in Path("studies/artifacts").iterdir()} == files
    assert run("export", "--format", "weights")[0] == 0  # the one that was used last is gone, so the only one
    assert run("studies", "delete", "again", "--yes")[0] == 0
    assert list(Path("studies/artifacts").iterdir()) == []
    assert "there are no studies" in run("studies")[1]
    assert run("studies", "delete", "again", "--yes")[0] == 2


def test_each_sitting_is_kept_without_passwords(run: Run) -> None:
    run(*SMALL)
    run(*SMALL[2:], "--trials", "3", "--sampler", "random", "--storage", "sqlite:///studies/drill-search.db")
    with open_to_read(None, None) as study:
        first, second = sittings(study)
    assert first["asked"]["trials"] == 2
    assert second["asked"]["sampler"] == "random"
    assert second["asked"]["command"][-1] == "sqlite:///studies/drill-search.db"
    name = all_studies(parse("sqlite:///studies/drill-search.db"))[0].name
    shown = [
        line for line in run("studies", "list", name)[1].splitlines() if line.startswith("  in full: --budget")
    ]
    assert ["--sampler tpe" in line for line in shown] == [True, False]
    assert not re.search(r"--no-(?!starts)", " ".join(shown))
    assert all("--seed 0" in line for line in shown)
    assert run("report", "--study", "")[0] == 2  # and not of the study that was used last
    assert set(first["versions"]) == {"drill-search", "torch", "llvmlite", "optuna", "numpy"}
    assert len(all_studies(parse("sqlite:///studies/drill-search.db"))) == 1


def _findings(folder: Path, *, offline: bool) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(DataSource(folder=folder, offline=offline), None)}


def test_doctor_names_missing_data_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = _findings(tmp_path, offline=True)["data"]
    assert data.state == "missing"
    assert "downloads are off" in data.found
    assert str(tmp_path / "MNIST/raw") in data.remedy

    def refuse(address: tuple[str, int], timeout: float) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    data = _findings(tmp_path, offline=False)["data"]
    assert "no network" in data.found
    assert "Network is unreachable" in data.found


def _write_mnist(root: Path, *, spoilt: str = "") -> None:
    """Files of MNIST's sizes without any digits; one may be empty."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    facts = dataset_facts("mnist")
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    for name, size in zip((*facts.train_files, *facts.test_files), sizes, strict=True):
        with (raw / name).open("wb") as file:
            file.truncate(0 if name == spoilt else size)


def test_doctor_looks_at_the_files_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRILL_OWN_DATA", "1")
    _write_mnist(tmp_path / "whole")
    assert _findings(tmp_path / "whole", offline=True)["data"].state == "ok"
    _write_mnist(tmp_path / "spoilt", spoilt="t10k-labels-idx1-ubyte")
    data = _findings(tmp_path / "spoilt", offline=False)["data"]
    assert data.state == "trouble"
    file = tmp_path / "spoilt/MNIST/raw/t10k-labels-idx1-ubyte"
    assert data.found == f"{file} is corrupt: it has 0 bytes instead of 10,008"
    assert data.remedy == "delete it, and the next search downloads it anew"
    assert "in its place" in _findings(tmp_path / "spoilt", offline=True)["data"].remedy


def test_a_data_folder_that_needs_nothing_need_not_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRILL_OWN_DATA", "1")
    _write_mnist(tmp_path / "shared")
    monkeypatch.setattr("search.commands.doctor._writable", lambda path: "shared" not in str(path))
    found = _findings(tmp_path / "shared", offline=False)
    assert "data folder" not in found
    assert found["data"].state == "ok"
    assert "which cannot be written: other data sets go elsewhere" in found["data"].found
    assert _findings(tmp_path / "shared" / "none", offline=True)["data folder"].state == "missing"


def test_doctor_asks_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        if address[0] != "proxy.example":
            raise OSError(101, "Network is unreachable")
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://u:sEcr3t@proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert "the network is there" in _findings(tmp_path, offline=False)["data"].remedy
    assert asked == [("proxy.example", 3128)]
    monkeypatch.setenv("no_proxy", "*")
    assert "no network" in _findings(tmp_path, offline=False)["data"].found
    monkeypatch.setenv("no_proxy", "")
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://u:sEcr3t@:port")
    found = _findings(tmp_path, offline=False)["data"].found
    assert "the proxy that is set has no address" in found
    assert "sEcr3t" not in found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bugdet = 5", "there is no option bugdet; did you mean budget?"),
        ('dataset = "cifar"', "--dataset must be one of mnist"),
        ("budget = 5", "the smallest (skeleton one-pool) has 294 parameters"),
        ('sampler = "http://u:sEcr3t@h"', "got 'http://***@h'"),
    ],
)
def test_doctor_names_options_that_no_search_takes(run: Run, line: str, said: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.drill-search]\n{line}\n")
    assert run("--epochs", "1")[0] == 2
    code, text, error = run("doctor", "--offline", "--json")
    assert (code, error) == (1, "")
    (wrong,) = (finding for finding in json.loads(text) if finding["state"] == "trouble")
    assert wrong["what"] == "options"
    assert said in wrong["found"]


def test_doctor_looks_where_a_search_would(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_OWN_DATA", "1")
    _write_mnist(tmp_path / "here")
    remember(parse("sqlite:///elsewhere/x.db"), "s")
    assert "sqlite:///studies/drill-search.db" in run("doctor", "--offline")[1]
    Path("pyproject.toml").write_text(
        '[tool.drill-search]\ndata = "here"\noffline = true\nstorage = "sqlite:///own/x.db"\n'
    )
    code, text, _ = run("doctor")
    assert code == 0
    assert "mnist in here" in text
    assert "sqlite:///own/x.db, which a search will make" in text
    assert "sqlite:///typed.db" in run("doctor", "--storage", "sqlite:///typed.db")[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_doctor_names_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    found = _findings(tmp_path / "data", offline=True)
    assert found["data folder"].state == "missing"
    assert found["output"].state == "trouble"
    assert "search in another folder" in found["output"].remedy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "sqlalchemy", "mlxtend", "llvmlite"])
def test_doctor_names_a_library_that_is_missing(tmp_path: Path, name: str) -> None:
    """In a process where it cannot be imported."""
    script = (
        f"import sys\nsys.modules[{LIBRARIES[name].split('.')[0]!r}] = None\nfrom pathlib import Path\n"
        "from drill_models.resolve import DataSource\nfrom search.commands.doctor import examine\n"
        "for one in examine(DataSource(folder=Path('none'), offline=True), None): print(one.what, one.state)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{name} trouble" in ended.stdout
    assert "output ok" in ended.stdout


def test_a_pipe_that_is_closed_early_is_no_mistake(tmp_path: Path) -> None:
    steps = sorted(map(str, (ROOT / "studies/drills").glob("*/*.yaml")))
    command = [sys.executable, "-m", "search", "show", *steps]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_doctor_says_what_is_in_the_way(run: Run) -> None:
    Path("studies").write_text("a file stands where the folder should be")
    code, text, _ = run("doctor", "--offline")
    assert code == 1
    assert "in the way of a search: output, storage" in text


def test_a_log_that_cannot_be_written() -> None:
    with pytest.raises(DrillError, match="cannot be written"):
        Screen().log_to(Path("/nowhere/x.log"))


def test_what_stands_in_a_box_is_in_the_log(run: Run) -> None:
    assert "NOT THE WHOLE OF MNIST" in run(*SMALL, "--log", "l.txt")[1]
    assert "WARNING mnist is not in " in Path("l.txt").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_a_log_on_a_full_disk_is_said_once(run: Run) -> None:
    code, text, error = run(*SMALL, "--log", "/dev/full")
    assert code == 0
    assert "step 6 written" in text
    assert error.count("--log /dev/full: lines are lost: No space left on device") == 1
    assert "Logging error" not in error
    assert "Traceback" not in error


def test_a_loss_that_is_no_number_is_null_in_json(run: Run) -> None:
    text = (ROOT / "studies/best/1000.yaml").read_text()
    broken = re.sub(r"val_loss: [\d.]+", "val_loss: .inf", text, count=1)
    assert broken != text
    Path("x.yaml").write_text(broken)
    code, out, error = run("show", "x.yaml", "--json")
    assert (code, error) == (0, "")
    (shown,) = json.loads(out)
    losses = [epoch["val_loss"] for epoch in shown["step"]["result"]["run"]["epochs"]]
    assert losses[0] is None
    assert None not in losses[1:]


def test_training_again_says_beforehand_what_is_otherwise(run: Run) -> None:
    assert run(*SMALL, "-q")[0] == 0
    file = Path("studies") / f"{NAME}.yaml"
    code, out, error = run("train", str(file))
    assert code == 0
    assert "was made otherwise" not in out + error
    text = file.read_text()
    version = re.search(r"torch: (\S+)", text)
    assert version is not None
    file.write_text(text.replace(version[0], "torch: 1.2.3"))
    code, out, error = run("train", str(file), "--engine", "torch")
    assert code == 0
    assert f"engine was native, is torch; PyTorch was 1.2.3, is {version[1]}" in error
    file.write_text(re.sub(r"program: \S+", "program: 0.0.1", text))
    assert "was made otherwise: drill-search was 0.0.1, is " in run("train", str(file))[2]
