"""The commands of the documentation run as they stand, and the site builds without a warning.

A page's fenced blocks are taken in their order, in an empty folder: `sh` (and `sh setup`) is run, `yaml` or `toml`
with `file=NAME` is written there, `python run` is run. Indented blocks are for reading: they take long, or need
what is not here.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from search.console.console import Screen

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)(?: ([\w=.-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def _run(folder: Path, *command: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DRILL_OFFLINE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "drills").symlink_to(ROOT / "studies" / "drills")  # as in the project's folder
    for language, word, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if word.startswith("file="):
            (tmp_path / word.removeprefix("file=")).write_text(body, encoding="utf-8")
        elif language == "sh":
            for line in body.splitlines():
                if line.startswith("drill-search"):
                    _run(tmp_path, "sh", "-c", line)
        elif language == "python" and word == "run":
            _run(tmp_path, sys.executable, "-c", body)


def test_pages_name_no_command_that_is_not_there() -> None:
    import search.cli
    from search.cli.app import app

    assert search.cli.main is not None

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for word in re.findall(r"drill-search ([a-z]+)\b", page.read_text(encoding="utf-8")):
            assert word in known or word in ("finds", "is", "does", "had"), f"{page}: {word}"


def _commands(page: Path) -> Iterator[list[str]]:
    """The words of each line that is a command, indented, in a block or after a variable's setting or `uv run`."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for line in text.splitlines():
        is_one = re.match(r"(?:    )?(?:\w+=\S+ )*(?:uv run )?drill-search ", line)
        words = shlex.split(line, comments=True) if is_one else []
        if words:
            yield words[words.index("drill-search") + 1 :]
    for span in re.findall(r"`drill-search ([^`]+)`", text):
        if not re.search(r"\b[A-Z]{4,}\b", span):  # which stands for something
            yield shlex.split(span)


def _parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads a command line as the program does, and calls nothing, so not what would be installed."""
    if "--install-completion" in words:
        return
    import search.cli
    from search.cli.app import app

    assert search.cli.main is not None
    monkeypatch.setattr(sys, "argv", ["drill-search", *words])
    command: Any = typer.main.get_command(app)
    screen = Screen()
    try:
        context = command.make_context("drill-search", list(words), obj=screen)
        while rest := [*context._protected_args, *context.args]:
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    finally:
        screen.close()


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_commands_and_options_are_there(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("search.yaml").write_text("trials: 1\n", encoding="utf-8")
    for words in _commands(page):
        try:
            _parse(words, monkeypatch)
        except TyperException as error:
            raise AssertionError(f"{page}: drill-search {shlex.join(words)}: {error.format_message()}") from error
        except typer.Exit:  # of --help
            pass


def test_an_option_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["--nonsense"], ["confirm", "--nonsense"], ["studies", "list", "--nonsense"], ["nonsense"]):
        with pytest.raises(TyperException):
            _parse(words, monkeypatch)


def test_the_reference_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else: python docs/reference/generate.py"""
    monkeypatch.syspath_prepend(str(DOCS / "reference"))
    generate = importlib.import_module("generate")
    for page in generate.PAGES:
        assert (DOCS / "reference" / page).read_text(encoding="utf-8") == generate.text(page), page


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    site = tmp_path / "site"
    _run(ROOT, sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site))
    page = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "drill-search frontier" in page
    assert "--budget" in page
    assert "BudgetSampler" in (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
