"""The commands of the documentation run as they stand, and the site builds without a warning.

A page's fenced blocks are taken in their order, in an empty folder: `sh` (and `sh setup`) is run, `yaml` or `toml`
with `file=NAME` is written there, `python run` is run. Indented blocks are for reading: they take long, or need
what is not here.
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
