"""The command line in this process: what is printed, what is written, and each mistake in one sentence."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from drill_models.datasets import dataset_facts
from drill_models.step_io import load_step
from search.text import is_typed
from tests.command_line import Run

ROOT = Path(__file__).parent.parent


SMALL = ("--trials", "2", "--epochs", "2", "--budget", "2000", "--baselines", "none", "--workers", "1")


def test_the_main_job_in_small(run: Run, tmp_path: Path) -> None:
    code, text, _ = run(*SMALL)
    assert code == 0
    assert "NOT THE WHOLE OF MNIST" in text
    assert "Best 2 on mnist-5k" in text
    assert "2 trials: 2 complete" in text
    (file,) = (tmp_path / "studies").glob("mnist-5k-2000-*.yaml")
    step = load_step(file)
    assert step.result is not None
    assert step.result.n_params <= 2000
    assert str(file.relative_to(tmp_path)) in text

    code, text, _ = run(*SMALL[2:], "--trials", "3")
    assert code == 0
    assert "going on: 2 of 3 trials are there" in text
    assert "3 trials:" in text

    code, text, _ = run(*SMALL[2:], "--trials", "9", "--timeout", "0.000001")
    assert code == 0
    assert "--timeout is over with 3 of 9 trials" in text

    code, text, _ = run("export", "--out", "six.yaml")
    assert code == 0
    assert load_step(tmp_path / "six.yaml").model is not None

    code, text, _ = run("train", "six.yaml")
    assert code == 0
    assert "the recorded curve is reproduced exactly" in text

    code, text, _ = run("show", "six.yaml")
    assert code == 0
    assert "caveat (small-data)" in text

    name = file.stem
    code, _, error = run("--budget", "1500", "--epochs", "2", "--study", name, "--trials", "9")
    assert code == 2
    assert "--budget 2000 (now 1500)" in error


def test_own_skeleton_has_its_own_study(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "format: 1\nname: mine\nsummary: Two convolutions.\nblocks:\n"
        "  - {kind: conv, width: c1}\n  - {kind: pool, size: 4}\n  - {kind: conv, width: c2}\n",
        encoding="utf-8",
    )
    code, text, _ = run(*SMALL, "--skeleton", "own.yaml")
    assert code == 0
    assert "mnist-5k-2000-drill2-mine-2epochs" in text
    (tmp_path / "search.yaml").write_text("skeleton: [own.yaml]\n", encoding="utf-8")
    code, text, error = run(*SMALL, "--config", "search.yaml")
    assert (code, error) == (0, "")
    assert "2 trials are there, and --trials 2 asks for no more" in text
    _, text, _ = run("studies", "list", "mnist-5k-2000-drill2-mine-2epochs")
    assert text.count("--skeleton own.yaml") == 4  # wherever it was named: in each command, and in full


def test_show_prints_the_table_of_a_hand_step(run: Run) -> None:
    code, text, _ = run("show", str(ROOT / "studies/drills/a-runs/5.yaml"))
    assert code == 0
    for part in ("field", "9,816", "2,030,560", "scheduler-never-stepped", "99.41%"):
        assert part in text


def test_schema_is_json(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("schema")
    assert code == 0
    assert json.loads(text)["title"] == "Step"
    run("schema", "--skeletons", "--out", "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["title"] == "Skeleton"


@pytest.mark.slow
def test_the_end_says_where_the_best_comes_from_and_the_verdict_that_it_has(run: Run) -> None:
    words = ("--trials", "1", "--epochs", "1", "--budget", "2000", "--workers", "1")
    code, text, _ = run(*words)
    assert code == 0
    file = "studies/mnist-5k-2000-drill2-1epochs.yaml"
    origin = "trial 9, the package's starting point one-pool-deep, made narrow enough"
    assert f"step 6 written to {file}: {origin}\n" in text
    assert "Hand steps on" not in text  # all are over the budget
    assert "next: drill-search report (a page on it), drill-search confirm (" in text
    assert run("confirm", file, "--seeds", "1")[0] == 0  # into the file alone
    _, text, _ = run(*words)
    assert "1 trial is there, and --trials 1 asks for no more" in text
    assert "its verdict on the test set: " in text
    assert ", mean of 1 seed, by runs that are kept in " in text
    assert "; next: drill-search report (a page on it)\n" in text


def test_the_version_is_said(run: Run) -> None:
    assert run("--version") == (0, f"drill-search {version('drill-search')}\n", "")


def test_no_words_print_the_help(run: Run) -> None:
    code, text, _ = run()
    assert code == 0
    assert "--budget" in text
    for shown in (text, run("studies", "--help")[1]):  # each command in a line that is not cut
        assert "..." not in shown.rpartition("Commands:")[2]


def test_what_uv_started_names_its_commands_behind_uv(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert "; see uv run drill-search report --help" in run("report", "--storage")[2]
    code, text, _ = run(*SMALL)
    assert code == 0
    assert "next: uv run drill-search report (a page on it), uv run drill-search confirm (" in text
    assert is_typed("  uv run drill-search --budget 1000")
    assert not is_typed("uv run pytest")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "100"], "the smallest (skeleton one-pool) has 294 parameters"),
        (["--budget", "0"], "'--budget'"),
        (["--budget", "-5"], "'--budget'"),
        (["--trials", "0"], "'--trials': it must be at least 1; see"),
        (["--epochs", "1001"], "'--epochs': it must be at most 1000; see"),
        (["--workers", "0"], "'--workers'"),
        (["--workers", "-2"], "'--workers'"),
        (["--workers", "two"], "'--workers'"),
        (["train", str(ROOT / "studies/drills/a-runs/5.yaml"), "--workers", "0"], "'--workers'"),
        (["train", str(ROOT / "studies/drills/a-runs/5.yaml"), "--seeds", "0"], "'--seeds'"),
        (["--epochs", "0"], "'--epochs'"),
        (["--max-macs", "0"], "'--max-macs'"),
        (["--max-macs", "10"], "--max-macs 10: no network of the space is that small"),
        (["--timeout", "0"], "--timeout must be a number of seconds above 0, got 0"),
        (["--timeout", "nan"], "--timeout must be a number of seconds above 0, got nan"),
        (["--target", "99.4"], "--target is a fraction above 0 and at most 1, for example 0.994, got 99.4"),
        (["--dataset", "cifar"], "--dataset must be one of mnist, mnist-5k, fashion-mnist"),
        (["--sampler", "grid"], "--sampler must be one of local, tpe, nsga2, cmaes, gp, random, got 'grid'"),
        (["--pruner", "x"], "--pruner must be one of forecast"),
        (["--device", "tpu"], "--device must be one of auto, cpu, cuda, got 'tpu'"),
        (["--baselines", "z-runs"], "there is no such ladder; allowed: all, none, a-runs"),
        (["--baselines", "a-runs/9"], "a-runs has steps 1 to 5"),
        (["--skeleton", "nope.yaml"], "nope.yaml: cannot be read"),
        (["--budget", "10000", "--storage", "nonsense"], "--storage is not a database URL"),
        (["--budget", "10000", "--storage", "oops://x"], "no driver for oops"),
        (["--budget", "10000", "--study", " "], "--study must have 1 to 100 characters"),
        (["--budget", "10000", "--dataset", "kmnist"], "kmnist is not in"),
        (["--nonsense"], "No such option"),
        (
            ["--budget", "10k"],
            "'--budget': it must be a whole number, in digits; see drill-search --help",
        ),
        (["report", "--storage"], "requires an argument; see drill-search report --help"),
        (["--trials"], "requires an argument; see drill-search --help"),
        (["--target", "99,4"], "'--target': it must be a number, in digits and a point; see drill-search --help"),
        (["studies", "lst"], "No such command 'lst'; did you mean 'list'; see drill-search studies --help"),
        (["report", "NAME"], "unexpected extra argument(s) (NAME); see drill-search report --help"),
        (["studies", "NAME"], "No such command 'NAME'; see drill-search studies --help"),
        (["--budget", "10000", "--finalists", "1"], "--finalists 1 would be compared with nobody"),
        (["--budget", "2000000000"], "'--budget'"),
        (["--budget", "10000", "--study", "x" * 101], "--study must have 1 to 100 characters"),
        (["--budget", "10000", "--out", "."], ".: cannot be written: it is a folder"),
        (["--budget", "10000", "--storage", "postgresql://u:p@h:port/x"], "--storage is not a database URL"),
        (["--budget", "10000", "--storage", "sqlite:///file:x.db?uri=true"], "file: form is not supported"),
        (["--baselines", "a-runs/²"], "a-runs has steps 1 to 5"),
        (["--study", "x", "export"], "--study stands before export; options follow their command"),
        (["dashboard", "--study", "x"], "there is no study database"),
        (["show", "nope.yaml"], "nope.yaml: cannot be read: No such file or directory"),
        (["train", "nope.yaml"], "nope.yaml: cannot be read"),
        (["export"], "there is no study database"),
        (["dashboard"], "there is no study database"),
        (["export", "--storage", "nonsense"], "--storage is not a database URL"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, error = run(*words)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize("size", [0, 100, 47_040_015])
def test_corrupt_mnist_is_one_sentence(run: Run, tmp_path: Path, size: int) -> None:
    facts = dataset_facts("mnist")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (*facts.train_files, *facts.test_files):
        with (raw / name).open("wb") as file:
            file.truncate(size)
    code, _, error = run(*SMALL, "--data", str(tmp_path / "data"))
    assert code == 2
    assert "train-images-idx3-ubyte is corrupt" in error
    assert len(error.strip().splitlines()) == 1


def test_a_studies_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file stands where the folder should be")
    code, _, error = run(*SMALL)
    assert code == 2
    assert "studies/drill-search.db: cannot be made" in error
