"""Parts of free-form networks: refused, counted, built, written and exported as what they are."""

from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from drill_models.build import build
from drill_models.convolutions import operation_params
from drill_models.count import count
from drill_models.hand_steps import all_steps
from drill_models.step import ConvBlock, GapHead, ModelConfig, PoolBlock, Step
from drill_models.step_io import load_step, save_step
from search.export.code import network
from search.export.notebook import notebook
from search.export.python_file import python_file
from search.export.weights import convert
from search.study.phrasing import NOTATION, chain
from tests.parts import every_part


def _step(model: ModelConfig) -> Step:
    return all_steps()[0].model_copy(update={"model": model, "result": None})


@pytest.mark.parametrize(
    "wrong",
    [
        {"then": ("relu", "prelu")},
        {"separable": True, "between": ("relu", "hard_swish")},
        {"separable": True, "between": ("relu", "relu")},
        {"separable": True, "between": ("dropout",)},
        {"between": ("relu",)},
        {"expansion": 2},
        {"separable": True, "expansion": 7},
        {"separable": True, "expansion": 0},
        {"stride": 0},
        {"stride": 3},
        {"stride": 2, "padding": 1, "residual": True},
        {"then": ("swish",)},
    ],
    ids=str,
)
def test_conv_block_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        ConvBlock.model_validate({"kind": "conv", "channels": 8, **wrong})
    assert caught.value.error_count() >= 1
    # The same block without what is wrong is none of these errors.
    ConvBlock.model_validate({"kind": "conv", "channels": 8, "separable": bool(wrong.get("separable"))})


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        PoolBlock.model_validate({"kind": "pool", "mode": "median"})
    assert caught.value.errors()[0]["loc"] == ("mode",)


def test_an_unknown_operation_never_counts_as_zero() -> None:
    with pytest.raises(TypeError):
        operation_params("swish", 8)  # type: ignore[arg-type]


def test_defaults_are_not_written() -> None:
    block, pool = ConvBlock(channels=4, then=("relu",)), PoolBlock(kind="pool")
    assert set(block.model_dump()) == {"kind", "channels", "kernel", "padding", "separable", "residual", "then"}
    assert pool.model_dump(mode="json") == {"kind": "pool", "size": 2}
    parts = every_part()
    assert ModelConfig.model_validate_json(parts.model_dump_json()) == parts


def test_digest_counts_each_part() -> None:
    plain = ConvBlock(channels=8, padding=1, separable=True, then=("batch_norm", "relu"))
    changes: list[dict[str, object]] = [
        {},
        {"stride": 2},
        {"expansion": 2},
        {"between": ("batch_norm",)},
        {"then": ("batch_norm", "prelu")},
        {"then": ("batch_norm", "hard_swish")},
    ]
    models = [
        ModelConfig(blocks=(plain.model_copy(update=change), PoolBlock(kind="pool")), head=GapHead())
        for change in changes
    ]
    models.append(ModelConfig(blocks=(plain, PoolBlock(kind="pool", mode="average")), head=GapHead()))
    assert len({_step(model).digest for model in models}) == len(models)
    assert len({chain(model) for model in models}) == len(models)


def test_every_letter_of_the_architecture_is_explained() -> None:
    assert chain(every_part()) == "4/5vpr s4x3bph+ A s6bvpr 12/1r P"
    for letter in ("xn", "b operations", "v stride", "r PReLU", "h hard swish", "A an average"):
        assert letter in NOTATION


def test_table_of_every_part() -> None:
    counted = count(every_part())
    rows = [(r.name, r.kernel, r.out_shape, r.receptive_field, r.n_params, r.macs) for r in counted.layers[:9]]
    assert rows == [
        ("conv stride 2, batch norm, prelu", 5, (4, 14, 14), 5, 100 + 8 + 1, 100 * 196),
        ("conv, batch norm, hard swish", 1, (12, 14, 14), 5, 48 + 24, 48 * 196),
        ("depthwise conv, batch norm, hard swish", 3, (12, 14, 14), 9, 108 + 24, 108 * 196),
        ("conv, batch norm, + input", 1, (4, 14, 14), 9, 48 + 8, 48 * 196),
        ("average pool", 2, (4, 7, 7), 11, 0, 0),
        ("depthwise conv stride 2, batch norm, prelu", 3, (4, 4, 4), 19, 36 + 8 + 1, 36 * 16),
        ("conv, batch norm, relu", 1, (6, 4, 4), 19, 24 + 12, 24 * 16),
        ("conv, prelu, batch norm", 1, (12, 4, 4), 19, 72 + 1 + 24, 72 * 16),
        ("max pool", 2, (12, 2, 2), 27, 0, 0),
    ]
    # The depthwise convolution of the inverted bottleneck, with the input that its skip connection keeps.
    assert counted.peak_activations == (12 + 12 + 4) * 196


@pytest.mark.parametrize("n", range(1, 5))
def test_receptive_field_is_what_the_gradient_sees(n: int) -> None:
    blocks = (
        ConvBlock(channels=2, kernel=3, stride=2),
        ConvBlock(channels=2, padding=1, separable=True, expansion=2, residual=True),
        ConvBlock(channels=2, separable=True, stride=2),
        PoolBlock(kind="pool", mode="average"),
    )[:n]
    model = ModelConfig(blocks=blocks, head=GapHead())
    net = build(model)[:n].double()
    for p in net.parameters():
        nn.init.ones_(p)
    image = torch.zeros(1, 1, 28, 28, dtype=torch.double, requires_grad=True)
    out = net(image)
    centre = out.shape[-1] // 2
    out[0, 0, centre, centre].backward()
    assert image.grad is not None
    seen = int((image.grad[0, 0].abs().sum(0) > 0).sum())
    field = [row.receptive_field for row in count(model).layers if row.out_shape == (2, *out.shape[-2:])][-1]
    assert seen == field


def test_inverted_bottleneck_is_expand_depthwise_project() -> None:
    block = ConvBlock(
        channels=3,
        padding=1,
        separable=True,
        residual=True,
        expansion=4,
        between=("batch_norm", "hard_swish"),
        then=("batch_norm",),
    )
    body = build(ModelConfig(blocks=(ConvBlock(channels=3), block), head=GapHead()))[1]
    (body,) = body.children()
    layers = list(body.children())
    assert [type(layer).__name__ for layer in layers] == [
        *("Conv2d", "BatchNorm2d", "Hardswish"),
        *("Conv2d", "BatchNorm2d", "Hardswish"),
        *("Conv2d", "BatchNorm2d"),
    ]
    shapes = [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Conv2d)]
    assert shapes == [(12, 3, 1, 1), (12, 1, 3, 3), (3, 12, 1, 1)]


def test_step_file_round_trip(tmp_path: Path) -> None:
    step = _step(every_part())
    save_step(tmp_path / "parts.yaml", step)
    assert load_step(tmp_path / "parts.yaml") == step
    first = yaml.safe_load((tmp_path / "parts.yaml").read_text(encoding="utf-8"))["model"]["blocks"][0]
    assert first["stride"] == 2
    assert "expansion" not in first


def _exported(model: ModelConfig) -> nn.Module:
    """The network of exported code."""
    made: dict[str, type[nn.Module]] = {}
    exec("import torch\nfrom torch import nn\n" + network(model), made)
    return made["Net"]()


def test_exported_code_is_the_same_network() -> None:
    model = every_part()
    net, exported = build(model), _exported(model)
    exported.load_state_dict(net.state_dict())
    images = torch.randn(5, 1, 28, 28)
    for mode in (True, False):
        assert torch.equal(net.train(mode)(images), exported.train(mode)(images))
    step = _step(model)
    assert network(model) in python_file(step, "Made by a test.")
    assert "nn.Hardswish()" in notebook(step, "Made by a test.")


def test_exported_program_gives_the_same_logits(tmp_path: Path) -> None:
    net = build(every_part()).eval()
    file = tmp_path / "net.pt2"
    file.write_bytes(convert("torch", net, {}))
    images = torch.randn(3, 1, 28, 28)
    assert torch.allclose(torch.export.load(file).module()(images), net(images), atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_logits() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = build(every_part()).eval()
    session = onnxruntime.InferenceSession(convert("onnx", net, {}))
    for n in (1, 5):
        images = torch.randn(n, 1, 28, 28)
        (logits,) = session.run(None, {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), net(images), atol=1e-4)


def test_peak_counts_the_skip_connection_of_an_inverted_bottleneck() -> None:
    kept = count(every_part()).layers
    assert [row.extra for row in kept[1:4]] == [0, 4 * 196, 4 * 196]
