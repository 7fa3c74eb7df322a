"""Networks that train on a Ray cluster: two nodes of one machine, of which one goes away."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from search import attrs
from tests.command_line import Run
from tests.programs import environment, running, trials_of, wait_for_a_running_trial

pytestmark = pytest.mark.xdist_group("ray")  # one cluster at a time

RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
SHORT = ("--epochs", "15", "--budget", "1000", "--dataset", "mnist-5k", "--no-starts", "--finalists", "0")

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("ADDRESS", cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(other, allow_graceful=False)
        print("REMOVED", flush=True)
cluster.shutdown()
"""
"""In a process of its own: two nodes; a line on its input takes the second away, the input's end both."""


@contextmanager
def _cluster(folder: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment(folder),
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("ADDRESS"))
        try:
            yield line.split()[1], process
        finally:
            process.communicate(timeout=60)


@RAY
@pytest.mark.slow
def test_a_node_that_goes_away_costs_no_trial(tmp_path: Path) -> None:
    total = 8
    folder = tmp_path / "folder"
    folder.mkdir()
    with _cluster(tmp_path) as (address, cluster):
        words = ("--engine", "ray", "--address", address, "--trials", str(total), "--baselines", "a-runs/2")
        with running(folder, *words, *SHORT, "--pruner", "none", "--study", "two") as process:
            wait_for_a_running_trial(folder, process, after=2, at_once=2)
            assert cluster.stdin is not None
            assert cluster.stdout is not None
            print("remove", file=cluster.stdin, flush=True)
            assert next(cluster.stdout).strip() == "REMOVED"
            out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "on a Ray cluster of 2 nodes (cpu), 2 trials at a time" in out
    assert "\x1b" not in out + err
    trials = trials_of(folder, "two")
    lost = [trial for trial in trials if attrs.INTERRUPTED in trial.user_attrs]
    assert len(lost) == out.count("a worker of the cluster is gone")
    assert len(lost) == 1
    assert [trial.user_attrs.get(attrs.RETRY_OF) for trial in trials].count(None) == len(trials) - len(lost)
    assert sum(attrs.CURVE in trial.user_attrs for trial in trials if trial not in lost) == total
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}


@RAY
@pytest.mark.slow
def test_a_cluster_of_this_machine_prunes_and_speaks_json(tmp_path: Path) -> None:
    """Without an address, Ray starts for the purpose; a pruned network is stopped where it trains."""
    words = ("--engine", "ray", "--workers", "2", "--trials", "8", "--baselines", "none")
    with running(tmp_path, *words, *SHORT, "--pruner", "median", "--study", "one", "--json") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert document["trials"]["trained"] == 8
    assert document["trials"]["pruned"] > 0


def test_mistakes_about_clusters_are_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, said in (
        (("--address", "127.0.0.1:6379"), "--address is a Ray cluster's; it needs --engine ray"),
        (("--engine", "rya"), "--engine must be one of auto, native, torch, ray"),
    ):
        code, _, error = run(*words)
        assert code == 2
        assert said in error
    if find_spec("ray") is not None:
        for address, said in (
            ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
            ("ray://127.0.0.1:1", "HOST:PORT of the cluster's head node"),
            ("here", "HOST:PORT of the cluster's head node"),
        ):
            code, _, error = run("--engine", "ray", "--address", address)
            assert code == 2
            assert said in error
    monkeypatch.setattr("search.options.find_spec", lambda name: None)
    code, _, error = run("--engine", "ray")
    assert code == 2
    assert "pip install ray" in error
