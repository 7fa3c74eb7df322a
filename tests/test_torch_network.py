"""A recorded step trains as the layers do one by one; where there is a GPU, a captured graph does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from drill_models.backend import Backend, PrecisionName
from drill_models.build import build
from drill_models.step import ConvBlock, GapHead, ModelConfig
from drill_models.torch_network import Recorder, Step, TorchNetwork, record_cuda_graph

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16")
MODEL = ModelConfig(
    blocks=(ConvBlock(channels=4, then=("batch_norm", "relu")), ConvBlock(channels=6, then=("batch_norm",))),
    head=GapHead(classifier="linear"),
)


def _like_a_graph(parameters: list[nn.Parameter]) -> Recorder:
    """A recorder that behaves as a CUDA graph: it writes into the slopes of the time of recording, for ever."""

    def record(step: Step) -> Step:
        for _ in range(3):
            step()
        step()
        recorded = [p.grad for p in parameters]

        def replay() -> tuple[Tensor, Tensor]:
            now = [p.grad for p in parameters]
            result = step()
            for p, place, attribute in zip(parameters, recorded, now, strict=True):
                assert place is not None
                assert p.grad is not None
                place.copy_(p.grad)
                p.grad = attribute
            return result

        return replay

    return record


def _train(
    device: str, recorder: Callable[[list[nn.Parameter]], Recorder] | None
) -> tuple[dict[str, Tensor], list[float]]:
    torch.manual_seed(0)
    net = build(MODEL).to(device)
    backend = Backend(device="cuda" if device == "cuda" else "cpu", engine="torch")
    chosen = None if recorder is None else recorder(list(net.parameters()))
    network = TorchNetwork(net, backend, batch=16, recorder=chosen)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    draws = torch.Generator().manual_seed(1)
    for size in (16, 16, 5, 16, 3, 16):
        images = torch.randn(size, 1, 28, 28, generator=draws).to(device)
        labels = torch.randint(0, 10, (size,), generator=draws).to(device)
        loss, hits = network.train_batch(images, labels, label_smoothing=0.1)
        optimizer.step()
        losses.append(float(loss))
        assert 0 <= int(hits) <= size
    return {name: value.cpu() for name, value in network.module().state_dict().items()}, losses


def test_a_recorded_step_is_the_same_training() -> None:
    plain, losses = _train("cpu", None)
    recorded, again = _train("cpu", _like_a_graph)
    assert again == pytest.approx(losses, rel=1e-5)
    for name, value in plain.items():
        # How often batch norm was tried out is counted by a buffer, and set back with the others.
        assert torch.allclose(recorded[name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_cuda_graph_is_the_same_training() -> None:
    plain, losses = _train("cuda", None)
    recorded, again = _train("cuda", lambda parameters: record_cuda_graph)
    assert again == pytest.approx(losses, rel=1e-3)
    for name, value in plain.items():
        assert torch.allclose(recorded[name], value, rtol=1e-2, atol=1e-3), name


def test_bf16_is_another_rounding() -> None:
    torch.manual_seed(0)
    net = build(MODEL)
    images, labels = torch.randn(8, 1, 28, 28), torch.randint(0, 10, (8,))
    losses = []
    for precision in PRECISIONS:
        backend = Backend(engine="torch", precision=precision)
        network = TorchNetwork(net, backend, batch=8)
        losses.append(float(network.train_batch(images, labels, label_smoothing=0.0)[0]))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
