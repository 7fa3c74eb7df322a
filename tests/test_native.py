"""The own kernels: the same numbers as PyTorch's layers, forward, backward and in evaluation."""

import itertools

import llvmlite.binding as llvm
import pytest
import torch
from hypothesis import given, settings

from drill_models.backend import Backend, EngineName
from drill_models.build import build
from drill_models.data import ResidentData
from drill_models.errors import DrillError
from drill_models.hand_steps import all_steps
from drill_models.native.compile import LANES_VARIABLE, Processor, processor, processors, target_machine
from drill_models.native.convolutions import split
from drill_models.native.network import NativeNetwork
from drill_models.native.plan import Unsupported, make_plan
from drill_models.networks import make_network
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    Head,
    ModelConfig,
    Operation,
    PoolBlock,
    Recipe,
)
from drill_models.torch_network import TorchNetwork
from drill_models.train import train
from tests.agreement import assert_agree
from tests.strategies import models

_OPERATIONS: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
ENGINES: tuple[EngineName, ...] = ("native", "torch")
ORDERS: list[tuple[Operation, ...]] = [order for n in range(4) for order in itertools.permutations(_OPERATIONS, n)]

HEADS: list[Head] = [
    GapHead(),
    GapHead(classifier="linear"),
    GapHead(classifier="none"),
    FullConvHead(kind="full_conv"),
]


# Several hand steps have one model.
MODELS = {step.model: step.name for step in reversed(all_steps())}
NARROWER = ["a-runs 4", "b-cyclic 5", "c-under-20k 4", "d-rotation 3", "e-codes 4"]
"""Hand steps that vectors narrower than the processor's own are tried with; one of each ladder."""

WIDTHS = processors()
every_width = pytest.mark.parametrize("target", WIDTHS, ids=lambda target: f"{target.lanes} lanes")


def _pairs() -> list[object]:
    """Every model at the processor's own width, one of each ladder at the narrower ones."""
    return [
        pytest.param(model, target, id=f"{name}-{target.lanes} lanes")
        for target in WIDTHS
        for model, name in MODELS.items()
        if target == WIDTHS[0] or name in NARROWER
    ]


@pytest.mark.parametrize(("model", "target"), _pairs())
def test_hand_steps(model: ModelConfig, target: Processor) -> None:
    assert_agree(model, 21, target=target)


def test_narrower_vectors_are_tried_with_one_hand_step_of_each_ladder() -> None:
    assert set(NARROWER) <= set(MODELS.values())
    assert {name.split()[0] for name in NARROWER} == {step.name.split()[0] for step in all_steps()}


@pytest.mark.parametrize("then", ORDERS, ids="-".join)
def test_every_order_of_operations(then: tuple[Operation, ...]) -> None:
    blocks = (
        ConvBlock(channels=5, padding=1, then=then),
        PoolBlock(kind="pool", size=3),
        ConvBlock(channels=7, then=then),
    )
    dropout = Dropout(rate=0.3) if "dropout" in then else None
    assert_agree(ModelConfig(blocks=blocks, dropout=dropout, head=GapHead()), 20, smoothing=0.1)


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("per", ["element", "channel"])
def test_residual_and_separable_blocks(head: Head, per: str) -> None:
    then: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
    blocks = (
        ConvBlock(channels=6, kernel=5, padding=2, then=then),
        ConvBlock(channels=6, padding=1, separable=True, residual=True, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=6, padding=1, residual=True, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=11, kernel=3, padding=1, separable=True, then=then),
        ConvBlock(channels=11, kernel=1, residual=True, then=("relu",)),
        PoolBlock(kind="pool", size=2),
    )
    assert_agree(ModelConfig(blocks=blocks, dropout=Dropout(rate=0.2, per=per), head=head), 33)  # type: ignore[arg-type]


@every_width
@pytest.mark.parametrize("n", [1, 15, 16, 17, 64])
def test_batches_that_do_not_fill_their_lanes(n: int, target: Processor) -> None:
    blocks = (ConvBlock(channels=4, then=("batch_norm", "relu")), ConvBlock(channels=4, then=("batch_norm",)))
    assert_agree(ModelConfig(blocks=blocks, head=GapHead(classifier="linear")), n, target=target)


@pytest.mark.parametrize(
    "target",
    [
        *WIDTHS,
        Processor(lanes=16, registers=32),
        Processor(lanes=8, registers=16),
        Processor(lanes=4, registers=32),
    ],
    ids=[*(f"{width.lanes} lanes" for width in WIDTHS), "AVX-512", "AVX2", "NEON"],
)
def test_tiles_of_other_processors(target: Processor) -> None:
    """What is compiled for them runs here too, only slower or in more instructions."""
    then: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
    blocks = (
        ConvBlock(channels=9, padding=1, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=13, kernel=5, padding=1, then=then),
        ConvBlock(channels=13, padding=1, separable=True, residual=True, then=then),
    )
    model = ModelConfig(blocks=blocks, dropout=Dropout(rate=0.2), head=GapHead())
    assert_agree(model, 21, target=target)


def _covered(model: ModelConfig) -> bool:
    try:
        make_plan(model)
    except Unsupported:
        return False
    return True


@every_width
def test_random_networks(target: Processor) -> None:
    compared: set[ModelConfig] = set()

    # The same networks each time. Of others, one in some tens is beyond the bound where batch norm cancels a
    # gradient: the kernels lose up to 50 times as much there as PyTorch does in single precision.
    @settings(max_examples=20 if target == WIDTHS[0] else 10, deadline=None, derandomize=True)
    @given(models().filter(_covered))
    def compare(model: ModelConfig) -> None:
        compared.add(model)
        assert_agree(model, 6, target=target)

    compare()
    assert len(compared) >= (15 if target == WIDTHS[0] else 8)


def test_pooling_twice_is_pooling_once_and_first_is_not_covered() -> None:
    twice = (ConvBlock(channels=4), PoolBlock(kind="pool", size=2), PoolBlock(kind="pool", size=3))
    assert_agree(ModelConfig(blocks=twice, head=GapHead()), 9)
    first = ModelConfig(blocks=(PoolBlock(kind="pool", size=2), ConvBlock(channels=12)), head=GapHead())
    with pytest.raises(Unsupported):
        make_plan(first)
    fallback = make_network(first, Backend(), batch=4, max_batch=4, seed=0)
    assert isinstance(fallback, TorchNetwork)
    with pytest.raises(DrillError, match="--engine native does not cover pooling"):
        make_network(first, Backend(engine="native"), batch=4, max_batch=4, seed=0)


def test_the_variable_restricts_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LANES_VARIABLE, raising=False)
    assert processor() == WIDTHS[0]
    for width in WIDTHS:
        monkeypatch.setenv(LANES_VARIABLE, str(width.lanes))
        assert processor() == width
    for wrong in ("32", "eight"):
        monkeypatch.setenv(LANES_VARIABLE, wrong)
        with pytest.raises(DrillError, match=LANES_VARIABLE):
            processor()


@pytest.mark.skipif("x86_64" not in llvm.get_process_triple(), reason="reads the names of x86's registers")
@every_width
def test_code_of_a_narrower_width_uses_no_wider_registers(target: Processor) -> None:
    module = llvm.parse_assembly(
        "define void @f(ptr %a) {\n %v = load <32 x float>, ptr %a\n %s = fadd <32 x float> %v, %v\n"
        " store <32 x float> %s, ptr %a\n ret void\n}"
    )
    assert "mm0" in (text := target_machine(target).emit_assembly(module))
    # Four lanes may use the registers of eight: LLVM is given no vectors that need them.
    assert ("zmm" in text) == (target.lanes == 16)


def test_wide_networks_fall_back() -> None:
    wide = ModelConfig(blocks=(ConvBlock(channels=300),), head=GapHead())
    assert make_network(wide, Backend(), batch=4, max_batch=4, seed=0).engine == "torch"


def test_masks_change_with_the_batch_and_repeat_with_the_seed() -> None:
    model = ModelConfig(
        blocks=(ConvBlock(channels=12, then=("dropout",)),), dropout=Dropout(rate=0.5), head=GapHead()
    )
    images = torch.randn(16, 1, 28, 28)
    torch.manual_seed(0)
    net = build(model)
    first, second = (NativeNetwork(model, net, max_batch=16, seed=3) for _ in range(2))
    a, b = first.forward(images), first.forward(images)
    assert not torch.equal(a, b)
    assert torch.equal(a, second.forward(images))
    assert torch.equal(b, second.forward(images))


def test_a_nan_stays_one() -> None:
    model = ModelConfig(
        blocks=(ConvBlock(channels=12, then=("relu", "batch_norm")), PoolBlock(kind="pool", size=2)),
        head=GapHead(),
    )
    native = NativeNetwork(model, build(model), max_batch=4, seed=0)
    for row, column in itertools.product((12, 13), repeat=2):  # each place of a pooling window
        images = torch.randn(4, 1, 28, 28)
        images[2, 0, row, column] = float("nan")
        loss, _ = native.train_batch(images, torch.zeros(4, dtype=torch.long), label_smoothing=0.0)
        assert torch.isnan(loss)


def test_a_batch_too_large_is_refused() -> None:
    model = ModelConfig(blocks=(ConvBlock(channels=12),), head=GapHead())
    native = NativeNetwork(model, build(model), max_batch=16, seed=0)
    with pytest.raises(ValueError, match="a batch of 17 images"):
        native.forward(torch.randn(17, 1, 28, 28))


def test_both_engines_learn_alike(digits: ResidentData) -> None:
    step = next(step for step in all_steps() if step.name == "b-cyclic 5")
    recipe = Recipe(model=step.model, training=step.training.model_copy(update={"epochs": 3}))
    native, reference = (list(train(recipe, digits, seed=1, backend=Backend(engine=engine))) for engine in ENGINES)
    assert [r.lr for r in native] == [r.lr for r in reference]
    # Weights, order and augmentation are the same; masks differ, and a few hundred images measure.
    assert abs(native[-1].train_loss - reference[-1].train_loss) < 0.15
    assert min(native[-1].val_accuracy, reference[-1].val_accuracy) > 0.8


@pytest.mark.parametrize(("n", "most"), [(1, 5), (10, 4), (24, 5), (7, 7), (13, 4)])
def test_split_covers_everything_once(n: int, most: int) -> None:
    covered = [
        first + part * size + i
        for first, parts, size in split(n, most)
        for part in range(parts)
        for i in range(size)
    ]
    assert covered == list(range(n))
    assert max(size for _, _, size in split(n, most)) <= most
