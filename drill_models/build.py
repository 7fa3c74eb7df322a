"""`ModelConfig` -> `nn.Module`: plain PyTorch layers in the order that the configuration names."""

import torch
from torch import Tensor, nn

from drill_models.convolutions import convolutions
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    ModelConfig,
    Operation,
    PoolBlock,
    feature_shapes,
)


class Residual(nn.Module):
    """Adds a block's input to its output."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.body(x)  # type: ignore[no-any-return]


def build(model: ModelConfig) -> nn.Sequential:
    """Builds a network that maps (N, 1, 28, 28) float images to (N, logits) scores.

    Weights are drawn from torch's global random state, by PyTorch's default initialisation.
    """
    layers: list[nn.Module] = []
    channels = 1
    for block in model.blocks:
        match block:
            case ConvBlock():
                layers.append(_conv_block(block, channels, model.dropout))
                channels = block.channels
            case PoolBlock():
                pool = nn.MaxPool2d if block.mode == "max" else nn.AvgPool2d
                layers.append(pool(block.size))
            case _:
                raise TypeError(f"cannot build a block of type {type(block).__name__}")
    size = feature_shapes(model)[-1][1]
    match model.head:
        case FullConvHead():
            layers.append(nn.Conv2d(channels, model.num_classes, size, bias=False))
        case GapHead(classifier="conv1x1"):
            layers += [nn.AvgPool2d(size), nn.Conv2d(channels, model.num_classes, 1, bias=False)]
        case GapHead(classifier="linear"):
            layers += [nn.AvgPool2d(size), nn.Flatten(), nn.Linear(channels, model.num_classes)]
        case GapHead(classifier="none"):
            layers.append(nn.AvgPool2d(size))
        case _:
            raise TypeError(f"cannot build a head of type {type(model.head).__name__}")
    return nn.Sequential(*layers, nn.Flatten())


def n_params(net: nn.Module) -> int:
    """Trainable parameters of a built network; `count` gives the same number without building."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def _conv_block(block: ConvBlock, channels: int, dropout: Dropout | None) -> nn.Module:
    layers: list[nn.Module] = []
    for conv in convolutions(block, channels):
        layers.append(
            nn.Conv2d(
                conv.c_in,
                conv.c_out,
                conv.kernel,
                stride=conv.stride,
                padding=conv.padding,
                groups=conv.c_in if conv.depthwise else 1,
                bias=False,
            )
        )
        layers += [_operation(op, conv.c_out, dropout) for op in conv.ops]
    body = nn.Sequential(*layers)
    return Residual(body) if block.residual else body


def _operation(op: Operation, channels: int, dropout: Dropout | None) -> nn.Module:
    match op:
        case "batch_norm":
            return nn.BatchNorm2d(channels)
        case "relu":
            return nn.ReLU(inplace=True)
        case "prelu":
            return nn.PReLU()
        case "hard_swish":
            return nn.Hardswish()
        case "dropout":
            if dropout is None:
                raise TypeError("a block names dropout, but the model states no rate")
            return nn.Dropout2d(dropout.rate) if dropout.per == "channel" else nn.Dropout(dropout.rate)
    raise TypeError(f"cannot build operation {op!r}")


def count_built(model: ModelConfig) -> int:
    """Parameters of the network, counted after building it on the meta device (no memory, no random numbers)."""
    with torch.device("meta"):
        return n_params(build(model))
