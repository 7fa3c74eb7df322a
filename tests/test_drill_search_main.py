"""The entry point notices that other packages of the same names hide or overwrote this program's."""

import base64
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import drill_search_main
from drill_models.resolve import DataSource
from search.commands.doctor import examine
from tests.programs import ROOT, environment


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder as of an installation: three packages, the entry point, and the record of them."""
    site = tmp_path / "site"
    files = {"drill_search_main.py": (ROOT / "drill_search_main.py").read_bytes()}
    for name in drill_search_main.PACKAGES:
        files[f"{name}/__init__.py"] = b""
        files[f"{name}/part.py"] = b"value = 1\n"
    files["search/cli.py"] = b"def main(): print('searched')\n"
    records = []
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        records.append(f"{path},sha256={digest},{len(content)}")
    info = site / "drill_search-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: drill-search\nVersion: 0.1.0\n")
    (info / "RECORD").write_text("\n".join(records) + "\n")
    return site


def _ran(site: Path, *path: Path, code: str | None = None) -> "subprocess.CompletedProcess[str]":
    """The entry point, with folders on PYTHONPATH that come first. Without this environment's packages."""
    variables = environment(site)
    variables["PYTHONPATH"] = ":".join(map(str, [*path, site]))
    words = ["-m", "drill_search_main"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, "-S", "-P", *words],
        cwd=site.parent,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_own_packages_are_used(installed: Path) -> None:
    ended = _ran(installed)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "searched\n", "")


@pytest.mark.parametrize("name", drill_search_main.PACKAGES)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_a_file_of_the_users_hides_a_package(installed: Path, name: str, form: str) -> None:
    own = installed.parent / "own" / form.format(name)
    own.parent.mkdir(parents=True)
    own.write_text("raise AssertionError('it must not be imported')\n")
    ended = _ran(installed, installed.parent / "own")
    assert ended.returncode == 2
    assert str(own) in ended.stderr
    assert "PYTHONPATH" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_another_package_overwrote_ours(installed: Path) -> None:
    """As `spaces` of PyPI does; what installed the file is named."""
    (installed / "spaces" / "__init__.py").write_text("raise AssertionError('it must not be imported')\n")
    info = installed / "spaces-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spaces\nVersion: 0.1\n")
    (info / "RECORD").write_text("spaces/__init__.py,sha256=x,3\n")
    ended = _ran(installed)
    assert ended.returncode == 2
    assert str(installed / "spaces" / "__init__.py") in ended.stderr
    assert "pip uninstall spaces" in ended.stderr


def test_a_package_was_removed(installed: Path) -> None:
    """As uninstalling the other package does."""
    (installed / "spaces" / "__init__.py").unlink()
    ended = _ran(installed)
    assert ended.returncode == 2
    assert "--force-reinstall" in ended.stderr


def test_a_module_within_is_looked_at_where_all_are(installed: Path) -> None:
    """By doctor: reading all of them takes longer."""
    (installed / "spaces" / "part.py").write_text("value = 2\n")
    assert _ran(installed).returncode == 0
    ended = _ran(installed, code="import drill_search_main as m; print(m.problem(every_file=True))")
    assert str(installed / "spaces" / "part.py") in ended.stdout


def test_doctor_looks_at_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def found() -> tuple[str, str]:
        source = DataSource(folder=tmp_path, offline=True)
        return next((f.state, f.found) for f in examine(source, None) if f.what == "packages")

    assert found()[0] == "ok"
    monkeypatch.setattr(drill_search_main, "problem", lambda every_file: "x hides the package search: rename it")
    assert found() == ("trouble", "x hides the package search")


def test_the_command_is_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["drill-search", "--version"])
    with pytest.raises(SystemExit) as ended:
        drill_search_main.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("drill-search ")
