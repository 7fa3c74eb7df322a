"""Networks that train on a Ray cluster: two nodes of one machine, of which one goes away."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from search.schema import attributes as attrs
from tests.command_line import Run
from tests.programs import environment, running, trials_of, wait_for_a_running_trial

pytestmark = pytest.mark.xdist_group("ray")  # one cluster at a time

RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
SHORT = ("--budget", "1000", "--dataset", "mnist-5k", "--no-starts", "--finalists", "0")
TOTAL = int(os.environ.get("DRILL_TEST_RAY", "8"))
"""Networks; docs/explanation/faults.md says what 200 did."""

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


GPUS = """
import os, time
import ray
from search.config import ClusterOptions, TrainingOptions
from search.executors.ray import RayCluster

def where():
    time.sleep(0.5)
    yield os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]

ray.init(num_cpus=5, num_gpus=2, include_dashboard=False, log_to_driver=False)
task = ray.remote(**RayCluster(TrainingOptions(device="cuda", cluster=ClusterOptions(address=None))).each)(where)
for stream in [task.remote() for _ in range(12)]:
    print(*ray.get(next(stream)))
ray.shutdown()
"""
"""Twelve networks on two GPUs that Ray is only told of: which process had which."""


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
@pytest.mark.timeout(600 + 20 * TOTAL)
def test_a_node_that_goes_away_costs_no_trial(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with _cluster(tmp_path) as (address, cluster):
        # One hand step that is trained, and one over the budget, that is only recorded.
        words = ["--engine", "ray", "--address", address, "--trials", str(TOTAL), "--pruner", "none", *SHORT]
        # Of few networks, each trains long enough to be there still when its node goes, however busy the machine.
        words += ["--epochs", "16" if TOTAL < 50 else "2", "--baselines", "b-cyclic/5", "--baselines", "a-runs/2"]
        with running(folder, *words, "--budget", "7000", "--study", "two") as process:
            wait_for_a_running_trial(folder, process, after=TOTAL // 3, at_once=2, seconds=180 + 5 * TOTAL)
            assert cluster.stdin is not None
            assert cluster.stdout is not None
            print("remove", file=cluster.stdin, flush=True)
            assert next(cluster.stdout).strip() == "REMOVED"
            out, err = process.communicate(timeout=300 + 10 * TOTAL)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "on a Ray cluster of 2 nodes (cpu), 2 trials at a time" in out
    assert "\x1b" not in out + err
    trials = trials_of(folder, "two")
    lost = [trial for trial in trials if attrs.INTERRUPTED in trial.user_attrs]
    assert len(lost) == out.count("a worker of the cluster is gone")
    assert len(lost) == 1
    assert [trial.user_attrs.get(attrs.RETRY_OF) for trial in trials].count(None) == len(trials) - len(lost)
    trained = [trial for trial in trials if attrs.CURVE in trial.user_attrs and trial not in lost]
    assert len(trained) == TOTAL
    assert set(Counter(json.dumps(trial.params, sort_keys=True) for trial in trained).values()) == {1}
    hand = Counter(trial.user_attrs.get(attrs.BASELINE) for trial in trials if trial not in lost)
    assert (hand["b-cyclic 5"], hand["a-runs 2"]) == (1, 1)
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}


@RAY
@pytest.mark.slow
def test_a_cluster_of_this_machine_prunes_and_speaks_json(tmp_path: Path) -> None:
    """Without an address, Ray starts for the purpose; a pruned network is stopped where it trains."""
    words = ("--engine", "ray", "--workers", "2", "--trials", "8", "--baselines", "none", "--epochs", "15", *SHORT)
    with running(tmp_path, *words, "--pruner", "median", "--study", "one", "--json") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert document["trials"]["trained"] == 8
    assert document["trials"]["pruned"] > 0


STOPPED = """
import sys, time
from drill_models.backend import Backend
from drill_models.data import ResidentData, validation_data
from drill_models.resolve import DataSource, resolve
from drill_models.hand_steps import choose
from search.config import ClusterOptions, TrainingOptions
from search.executors.ray import connected
from search.executors.tasks import Ended, Epoch, Lost, Task

data = validation_data(resolve("mnist-5k", DataSource(folder=None, offline=True, say=print)))
(step,) = choose(("b-cyclic/5",))
training = step.training.model_copy(update={"epochs": 50})
recipe = step.recipe.model_copy(update={"training": training})
training = TrainingOptions(offline=True, device="cpu", workers=1)
address = ClusterOptions(address=sys.argv[1])
with connected(address, training) as cluster, cluster.executor(data, 1, bool) as executor:
    def wait_for(kind, key):
        while True:
            for event in executor.events(0.5):
                assert not isinstance(event, Lost), event
                if isinstance(event, kind) and event.key == key:
                    return
    executor.submit(Task(key=0, recipe=recipe, seed=0))
    wait_for(Epoch, 0)
    executor.stop(0)  # forty-nine epochs before its end, on the cluster's only core
    executor.submit(Task(key=1, recipe=recipe, seed=1))
    stopped = time.monotonic()
    wait_for(Epoch, 1)
    first = time.monotonic() - stopped
    wait_for(Ended, 1)
    print("FIRST", first, "ALL", time.monotonic() - stopped)
"""
"""A network is stopped on a cluster of one core, and another wants its place."""


@RAY
@pytest.mark.slow
def test_a_network_that_is_stopped_gives_its_core_back_within_an_epoch_or_two(tmp_path: Path) -> None:
    with _cluster(tmp_path) as (address, cluster):
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        print("remove", file=cluster.stdin, flush=True)
        assert next(cluster.stdout).strip() == "REMOVED"
        ended = subprocess.run(
            [sys.executable, "-c", STOPPED, address],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert ended.returncode == 0, ended.stderr
    words = next(line for line in ended.stdout.splitlines() if line.startswith("FIRST")).split()
    # Had the first trained on, its other epochs would have come before: as long as those of the second.
    assert float(words[1]) < 0.5 * float(words[3])


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


@RAY
@pytest.mark.slow
def test_a_process_with_a_gpu_trains_one_network(tmp_path: Path) -> None:
    """CUDA stays on the GPU that a process began with, whatever Ray gives it afterwards."""
    words = [sys.executable, "-c", GPUS]
    run = subprocess.run(
        words, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    processes, gpus = zip(*(line.split() for line in run.stdout.splitlines()), strict=True)
    assert set(gpus) == {"0", "1"}
    assert len(set(processes)) == len(processes) == 12
