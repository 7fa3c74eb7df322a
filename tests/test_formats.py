"""What a step is exported as gives the same network, and trains to the same curve, without this project."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from drill_models.augment import augment_batch
from drill_models.backend import Backend
from drill_models.build import build
from drill_models.count import count
from drill_models.data import MNIST_STATISTICS, Images, ResidentData, stratified_split
from drill_models.datasets import dataset_facts
from drill_models.device import using_threads
from drill_models.errors import DrillError
from drill_models.hand_steps import all_steps
from drill_models.networks import Network
from drill_models.resolve import DataSource, raw_folder
from drill_models.result import Result
from drill_models.run import run as run_step
from drill_models.step import Recipe, Step
from drill_models.step_io import load_step
from drill_models.train import train
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    Augment,
    CosineSchedule,
    OneCycleSchedule,
    Optimizer,
    Schedule,
    StepSchedule,
    TrainConfig,
)
from drill_models.weights import unpacked
from search.export.notebook import notebook
from search.export.python_file import python_file
from search.export.weights import about, pixel_statistics
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons
from tests.command_line import Run
from tests.spaces_for_tests import random_points

BEST = sorted((Path(__file__).parent.parent / "studies" / "best").glob("*.yaml"))


def _module(step: Step, folder: Path) -> ModuleType:
    """The exported file, imported."""
    file = folder / "step6.py"
    file.write_text(python_file(step, "Made by a test."))
    spec = importlib.util.spec_from_file_location("step6", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _random_steps() -> list[Step]:
    """Steps of random points, of every schedule and optimiser."""
    space, (base, *_) = DrillSpace(load_skeletons()), all_steps()
    steps, kinds = [], set()
    for point in random_points(200, seed=3):
        recipe = space.decode(point, epochs=2)
        kind = (recipe.training.schedule.kind, recipe.training.optimizer.kind)
        narrow = {**point, **{name: 4 + i for i, name in enumerate(sorted(n for n in point if n[1:].isdigit()))}}
        if kind not in kinds:
            kinds.add(kind)
            recipe = space.decode(narrow, epochs=2)
            training = recipe.training.model_copy(update={"batch_size": 16})
            steps.append(base.model_copy(update={"model": recipe.model, "training": training}))
    return steps


@dataclass
class _Training:
    """What a training run did, as PyTorch's optimisers saw it, and what came out.

    Attributes:
        settings: Before each step of the optimiser, those of its groups but the tensors: rate, momentum, decay.
        shapes: Of what each group changes.
        gradients: Length of the gradient of each tensor, before each step.
        schedulers: Of those that watch the loss the state at the end, with the loss and their own settings.
        weights: Of the network that is kept, with batch norm's statistics.
        accuracies: After each epoch.
    """

    settings: list[list[dict[str, object]]] = field(default_factory=list)
    shapes: set[tuple[tuple[int, ...], ...]] = field(default_factory=set)
    gradients: list[list[float]] = field(default_factory=list)
    schedulers: list[dict[str, object]] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)

    def look(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Writes down how an optimiser is about to step."""
        groups = optimizer.param_groups
        self.settings.append([{k: v for k, v in g.items() if k not in ("params", "fused")} for g in groups])
        self.shapes.add(tuple(tuple(p.shape) for group in groups for p in group["params"]))
        self.gradients.append([float(p.grad.norm()) for group in groups for p in group["params"]])


@contextmanager
def _watched() -> Iterator[_Training]:
    """Writes down what a training run in this process does."""
    seen, made = _Training(), []

    class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    hook = register_optimizer_step_pre_hook(seen.look)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.lr_scheduler, "ReduceLROnPlateau", Plateau)
        try:
            yield seen
        finally:
            hook.remove()
    for scheduler in made:
        state = scheduler.state_dict().items()
        seen.schedulers.append({name: value for name, value in state if isinstance(value, int | float)})


def _trained_twice(step: Step, made: ModuleType, folder: str, data: ResidentData) -> tuple[_Training, _Training]:
    """Trains a step as this project does and as the exported program does."""

    def keep(network: Network) -> None:
        ours.weights = {name: value.clone() for name, value in network.module().state_dict().items()}

    with using_threads(1):
        with _watched() as ours:
            records = train(step.recipe, data, seed=5, backend=Backend(engine="torch"), keep=keep)
            ours.accuracies = [record.val_accuracy for record in records]
        with _watched() as theirs:
            net, theirs.accuracies = made.train(folder, 5)
            theirs.weights = net.state_dict()
    return ours, theirs


def _assert_same(ours: _Training, theirs: _Training) -> None:
    assert theirs.settings == ours.settings
    assert theirs.shapes == ours.shapes
    assert theirs.gradients == [pytest.approx(lengths, rel=1e-4, abs=1e-7) for lengths in ours.gradients]
    assert theirs.schedulers == [pytest.approx(state, rel=1e-5) for state in ours.schedulers]
    assert theirs.weights.keys() == ours.weights.keys()
    for name, value in ours.weights.items():
        torch.testing.assert_close(theirs.weights[name], value, rtol=1e-4, atol=1e-6)
    assert theirs.accuracies == pytest.approx(ours.accuracies, abs=1e-6)  # ours are rounded


def _write_idx(folder: Path, images: Images, name: str, dataset: str = "MNIST") -> None:
    raw = folder / dataset / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    n = len(images).to_bytes(4, "big")
    size = (28).to_bytes(4, "big")
    (raw / f"{name}-images-idx3-ubyte").write_bytes(
        b"\x00\x00\x08\x03" + n + size + size + images.pixels.numpy().tobytes()
    )
    labels = images.labels.to(torch.uint8).numpy().tobytes()
    (raw / f"{name}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + n + labels)


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory, few_digits: ResidentData) -> Path:
    """Some digits, as torchvision finds MNIST."""
    folder = tmp_path_factory.mktemp("data")
    _write_idx(folder, few_digits.train, "train")
    _write_idx(folder, few_digits.held_out, "t10k")
    return folder


def _exact(step: Step) -> Step:
    """The step without augmentation, whose rounding is another; its schedule acts within two epochs."""
    training = step.training
    if isinstance(training.schedule, StepSchedule):
        schedule = training.schedule.model_copy(update={"every": 1})
        training = training.model_copy(update={"schedule": schedule})
    return step.model_copy(update={"training": training.model_copy(update={"augment": None})})


def _demanding_steps() -> list[Step]:
    """For each optimiser a step with every setting at work."""
    optimizers: list[Optimizer] = [
        SGD(kind="sgd", lr=0.05, momentum=0.8, nesterov=True, weight_decay=1e-3),
        Adam(kind="adam", lr=0.01, weight_decay=1e-3),
        AdamW(kind="adamw", lr=0.01, weight_decay=0.1),
    ]
    step = next(step for step in _random_steps() if step.model.dropout is not None)
    return [
        step.model_copy(
            update={
                "training": TrainConfig(
                    epochs=2,
                    batch_size=16,
                    optimizer=optimizer,
                    schedule=StepSchedule(kind="step", every=1, gamma=0.3),
                    label_smoothing=0.1,
                    ema_decay=0.5,
                )
            }
        )
        for optimizer in optimizers
    ]


@pytest.fixture(scope="module")
def halves(few_digits: ResidentData) -> ResidentData:
    """What training on the digits of `mnist_folder` sees: five sixths, and one sixth held out."""
    kept, held = stratified_split(few_digits.train.labels, len(few_digits.train) // 6)
    return ResidentData(
        name="mnist", train=few_digits.train[kept], held_out=few_digits.train[held], mean=0.1307, std=0.3081
    )


@pytest.mark.parametrize(
    "step",
    [*map(_exact, _random_steps()), *_demanding_steps()],
    ids=lambda step: f"{step.training.schedule.kind}-{step.training.optimizer.kind}",
)
def test_the_python_file_trains_in_the_same_way(
    step: Step, tmp_path: Path, mnist_folder: Path, halves: ResidentData
) -> None:
    ours, theirs = _trained_twice(step, _module(step, tmp_path), str(mnist_folder), halves)
    _assert_same(ours, theirs)
    assert len(ours.settings) == 2 * 18


def test_the_python_file_augments_what_it_trains_on(
    tmp_path: Path, mnist_folder: Path, halves: ResidentData
) -> None:
    """Random numbers are the same, rounding is not; so the first batches alone are compared, and roughly."""
    (step, *_) = _demanding_steps()
    augment = Augment(rotation=30, translation=3, scale=0.2, shear=10)
    training = step.training.model_copy(update={"augment": augment, "epochs": 1})
    step = step.model_copy(update={"training": training})
    ours, theirs = _trained_twice(step, _module(step, tmp_path), str(mnist_folder), halves)
    assert theirs.gradients[:3] == [pytest.approx(lengths, rel=0.01) for lengths in ours.gradients[:3]]


def _recorded_in_full(step: Step, data: ResidentData) -> Step:
    """The step with the record of a run on all training images."""
    with using_threads(1):
        here = run_step(step.recipe, data, full=True, seed=5, backend=Backend(engine="torch"))
    return step.model_copy(update={"result": Result(n_params=count(step.model).n_params, run=here)})


def test_a_step_that_was_trained_in_full_is_by_its_python_file(
    tmp_path: Path,
    mnist_folder: Path,
    few_digits: ResidentData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = replace(few_digits, name="mnist")
    step = _recorded_in_full(_demanding_steps()[0], data)
    assert step.result is not None
    assert step.result.run is not None
    made = _module(step, tmp_path)
    assert "[--no-full]" in str(made.__doc__)
    monkeypatch.setattr("sys.argv", ["step6.py", "--data", str(mnist_folder)])
    with using_threads(1):
        made.main()
    printed = re.findall(r"training loss (.+), held-out (.+)%", capsys.readouterr().out)
    recorded = [(record.train_loss, 100 * record.val_accuracy) for record in step.result.run.epochs]
    assert [tuple(map(float, line)) for line in printed] == [pytest.approx(line, abs=0.006) for line in recorded]
    seen = []

    def train(folder: str, seed: int, full: bool, epochs: int) -> tuple[None, list[float]]:
        seen.append(full)
        return None, [0.5]

    monkeypatch.setattr(made, "train", train)
    for word in ("--full", "--no-full"):
        monkeypatch.setattr("sys.argv", ["step6.py", word])
        made.main()
    assert seen == [True, False]


def test_a_step_that_was_trained_in_full_is_by_its_notebook(
    tmp_path: Path, mnist_folder: Path, few_digits: ResidentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(mnist_folder)
    step = _recorded_in_full(_demanding_steps()[0], replace(few_digits, name="mnist"))
    cells = nbformat.reads(notebook(step, "Made by a test."), as_version=4).cells
    values: dict[str, Any] = {}
    with using_threads(1):
        exec("\n".join(cell.source for cell in cells if cell.cell_type == "code"), values)
    assert values["recorded"] == pytest.approx(values["accuracies"], abs=1e-4)


@pytest.mark.parametrize("schedule", [CosineSchedule(kind="cosine"), OneCycleSchedule(kind="onecycle")])
def test_a_single_image_at_the_end_joins_the_batch_before_it(
    schedule: Schedule, tmp_path: Path, small_recipe: Recipe, few_digits: ResidentData
) -> None:
    """As 3,334 of `mnist-5k` leave one where a batch has 101."""
    training = small_recipe.training.model_copy(update={"batch_size": 101, "schedule": schedule})
    update = {"dataset": "mnist-5k", "model": small_recipe.model, "training": training}
    step = all_steps()[0].model_copy(update=update)
    data = replace(few_digits, train=few_digits.train[torch.arange(203)])
    made = _module(step, tmp_path)
    train_on, held_out = data.train, data.held_out
    loaded = (train_on.pixels, train_on.labels), (held_out.pixels, held_out.labels)
    made.load = lambda folder, full: loaded  # type: ignore[attr-defined]
    _assert_same(*_trained_twice(step, made, "", data))


@pytest.mark.parametrize(
    "step", [*all_steps(), *_random_steps(), *map(load_step, BEST)], ids=lambda step: step.name
)
def test_the_python_file_has_the_same_network_and_augmentation(step: Step, tmp_path: Path) -> None:
    made = _module(step, tmp_path)
    torch.manual_seed(1)
    net = made.Net()
    torch.manual_seed(1)
    ours = build(step.model)
    assert net.state_dict().keys() == ours.state_dict().keys()
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(net.eval()(images), ours.eval()(images))
    assert f"{count(step.model).n_params:,} parameters" in made.Net.__doc__
    if step.training.augment is None:
        assert not hasattr(made, "augment")
        return
    pixels = 255 * images
    theirs = made.augment(pixels, torch.Generator().manual_seed(2))
    mine = augment_batch(pixels, step.training.augment, torch.Generator().manual_seed(2))
    assert ((theirs - mine).abs() > 0.01).float().mean() < 0.01  # nearest neighbours may fall to either side


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, mnist_folder: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    (tmp_path / "data").symlink_to(mnist_folder)
    step = load_step(BEST[-1])
    short = step.model_copy(update={"training": step.training.model_copy(update={"epochs": 1})})
    text = notebook(short, "Made by a test.")
    assert text == notebook(short, "Made by a test.")
    book = nbformat.reads(text, as_version=4)
    headings = [cell.source.split("\n")[0] for cell in book.cells if cell.source.startswith("## ")]
    assert headings[:3] == ["## Target", "## Result", "## Analysis"]
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "recorded" in book.cells[-1].outputs[0].text


@pytest.fixture
def searched(run: Run) -> Step:
    """A search of two trials of one epoch, and its best."""
    words = ("--dataset", "mnist-5k", "--budget", "2000", "--trials", "2", "--epochs", "1", "--baselines", "none")
    assert run(*words, "--workers", "1")[0] == 0
    (file,) = Path("studies").glob("*.yaml")
    return load_step(file)


def _exported(run: Run, *words: str) -> Path:
    code, text, error = run("export", *words)
    assert code == 0, error
    assert "training it again" not in error
    return Path(text.removeprefix("written to ").strip())


def test_weights_fit_the_python_file_and_the_exported_program(run: Run, searched: Step) -> None:
    images = torch.randn(3, 1, 28, 28)
    file = _exported(run, "--format", "weights")
    ours = unpacked(file.read_bytes(), searched.model)(images)
    net = _module(searched, Path()).Net()
    net.load_state_dict(load_file(file))
    assert torch.equal(net.eval()(images), ours)
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["recipe"] == searched.digest
    program = torch.export.load(_exported(run, "--format", "torch"))
    assert torch.allclose(program.module()(images), ours, atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_scores_for_any_number_of_images(run: Run, searched: Step) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = unpacked(_exported(run, "--format", "weights").read_bytes(), searched.model)
    session = runtime.InferenceSession(_exported(run, "--format", "onnx").read_bytes())
    for n in (1, 7, 100):
        images = torch.randn(n, 1, 28, 28)
        (scores,) = session.run(None, {"images": images.numpy()})
        assert abs(scores - net(images).detach().numpy()).max() < 1e-4
    assert session.get_modelmeta().custom_metadata_map["n_params"] == str(count(searched.model).n_params)


def test_trained_files_say_by_which_numbers_images_are_normalised(tmp_path: Path) -> None:
    facts = dataset_facts("fashion-mnist")
    source = DataSource(folder=tmp_path, offline=True)
    assert pixel_statistics("fashion-mnist", source) is None
    step = all_steps()[0].model_copy(update={"dataset": "fashion-mnist"})
    assert "deviation of the training pixels" in about(step, "", None)["input"]
    half = torch.zeros(60_000, 1, 28, 28, dtype=torch.uint8)
    half[::2, :, :7] = 255
    images = Images(half, torch.arange(60_000) % 10)
    _write_idx(tmp_path, images, "train", "FashionMNIST")
    for name in facts.test_files:
        (raw_folder(facts, tmp_path) / name).touch()
    statistics = pixel_statistics("fashion-mnist", source)
    assert statistics == (0.125, 0.3307)
    assert about(step, "", statistics)["input"] == "(N, 1, 28, 28) floats: (pixel / 255 - 0.125) / 0.3307"
    assert pixel_statistics("mnist-5k", source) == MNIST_STATISTICS
    (raw_folder(facts, tmp_path) / facts.train_files[0]).write_bytes(b"cut short")
    assert pixel_statistics("fashion-mnist", source) is None


def test_weights_that_were_not_kept_are_trained_again(run: Run, searched: Step) -> None:
    kept = _exported(run, "--format", "weights").read_bytes()
    shutil.rmtree("studies/artifacts")
    code, _, error = run("export", "--format", "weights", "--out", "again.safetensors")
    assert code == 0
    assert "training it again with seed" in error
    assert "not the recorded one" not in error
    assert load(Path("again.safetensors").read_bytes()).keys() == load(kept).keys()
    assert all(torch.equal(load(Path("again.safetensors").read_bytes())[k], v) for k, v in load(kept).items())


def test_the_ending_says_the_format(run: Run, searched: Step) -> None:
    code, _, error = run("export", "--out", "net.safetensors")
    assert code == 0, error
    assert unpacked(Path("net.safetensors").read_bytes(), searched.model)
    Path("step.yaml").write_text(BEST[0].read_text())
    assert run("export", "step.yaml", "--out", "net.PY")[0] == 0
    assert "def train(" in Path("net.PY").read_text()
    for name, words in (("six.yml", ()), ("six", ()), ("six.txt", ("--format", "yaml"))):
        assert run("export", "--out", name, *words)[0] == 0
        assert load_step(Path(name)).recipe == searched.recipe


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "gguf"), "--format must be one of yaml, python"),
        (("step.yaml", "--study", "x"), "not both"),
        (("step.yaml",), "is YAML already"),
        (("step.yaml", "--format", "python", "--out", "missing.yaml/x.py"), "is not a folder"),
        (
            ("step.yaml", "--format", "python", "--out", "net.onnx"),
            "net.onnx ends as onnx does, not python;",
        ),
        (("--format", "yaml", "--out", "net.pt2"), "ends as torch does, not yaml;"),
        (
            ("--out", "net.pth"),
            "net.pth ends as no format does (.yaml, .yml, .py, .ipynb, .safetensors, .onnx, .pt2)",
        ),
    ],
)
def test_mistakes_in_exporting(run: Run, words: tuple[str, ...], message: str) -> None:
    Path("step.yaml").write_text(BEST[0].read_text())
    Path("missing.yaml").write_text("a file, no folder")
    code, _, error = run("export", *words)
    assert code == 2
    assert message in error


def test_a_verdict_is_in_what_is_exported(run: Run) -> None:
    words = "erdict: 98.86% on the test set, mean of 5 seeds trained on all training images (98.61% to 98.97%)"
    for name in ("net.py", "net.ipynb"):
        assert run("export", str(BEST[0]), "--out", name)[0] == 0
        assert words in " ".join(Path(name).read_text().split())
    ended = subprocess.run([sys.executable, "net.py", "--help"], capture_output=True, text=True, check=True)
    assert words in " ".join(ended.stdout.split())


def test_weights_are_not_trained_on_other_data(run: Run) -> None:
    """The embedded digits stand in for MNIST in a search; weights of a step on MNIST need MNIST."""
    code, _, error = run("export", str(BEST[0]), "--format", "weights", "--out", "net.safetensors")
    assert code == 2
    assert "again needs mnist" in error
    assert not Path("net.safetensors").exists()


def test_weights_of_another_network_are_refused(searched: Step, run: Run) -> None:
    content = _exported(run, "--format", "weights").read_bytes()
    with pytest.raises(DrillError, match="no weights of this network"):
        unpacked(content, all_steps()[0].model)
    with pytest.raises(DrillError, match="no weights of this network"):
        unpacked(b"not safetensors", searched.model)
