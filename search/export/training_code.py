"""The training of a step as Python code: optimiser, schedule, batches, and the loop over them."""

from drill_models.data import MNIST_STATISTICS, VALIDATION_SHARE
from drill_models.datasets import dataset_facts
from drill_models.step import Step
from drill_models.train_config import (
    SGD,
    CosineSchedule,
    ExponentialSchedule,
    NoSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    TrainConfig,
)
from search.export.templates import number


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
