"""Networks and recipes in a few words, for tables and for comparisons."""

from typing import Any

from drill_models.step import ConvBlock, ModelConfig, PoolBlock, Recipe


def chain(model: ModelConfig) -> str:
    """The blocks in one line: `16 10/1 P s24p+` is channels, other kernels, pool, separable, padded, residual."""
    words = []
    for block in model.blocks:
        match block:
            case PoolBlock():
                pool = "P" if block.mode == "max" else "A"
                words.append(pool if block.size == 2 else f"{pool}{block.size}")
            case ConvBlock():
                kernel = f"/{block.kernel}" if block.kernel != 3 else ""
                words.append(
                    ("s" if block.separable else "")
                    + str(block.channels)
                    + kernel
                    + (f"x{block.expansion}" if block.expansion > 1 else "")
                    + ("b" if block.between else "")
                    + ("v" if block.stride == 2 else "")
                    + ("p" if block.padding else "")
                    + _activation(block)
                    + ("+" if block.residual else "")
                )
    return " ".join(words)


NOTATION = (
    "each number: channels of a convolution; s depthwise separable, p padded, + with an identity path, /n a "
    "kernel of n x n instead of 3 x 3, xn an inverted bottleneck of n times the channels, b operations between "
    "its convolutions, v stride 2, r PReLU, h hard swish; P: a max pool of 2 x 2, Pn of n x n; A an average pool"
)
"""How `chain` is read."""

OF_THE_NETWORK = frozenset({"blocks", "order", "head", "dropout"})
"""What `described` says of the network; the rest is of its training."""


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe in a few words a line, to be compared with another."""
    model, training = recipe.model, recipe.training
    optimizer = training.optimizer.model_dump(exclude={"kind"})
    schedule = training.schedule.model_dump(exclude={"kind"})
    augment = training.augment
    return {
        "blocks": chain(model),
        "order": next((_order(b) for b in model.blocks if isinstance(b, ConvBlock) and b.then), "bare"),
        "head": "full-size convolution" if model.head.kind == "full_conv" else f"GAP, {model.head.classifier}",
        "dropout": "none" if model.dropout is None else f"{model.dropout.rate} by {model.dropout.per}",
        "batch size": training.batch_size,
        "optimiser": f"{training.optimizer.kind} ({_pairs(optimizer)})",
        "schedule": f"{training.schedule.kind} ({_pairs(schedule)})" if schedule else training.schedule.kind,
        "augmentation": "none" if augment is None else _pairs(augment.model_dump(exclude={"fill"})),
        "label smoothing": training.label_smoothing,
        "decay of averaged weights": training.ema_decay,
    }


def _activation(block: ConvBlock) -> str:
    """A letter of an activation other than ReLU, wherever in the block it stands."""
    letters = {"prelu": "r", "hard_swish": "h"}
    return "".join(sorted({letters[op] for op in (*block.between, *block.then) if op in letters}))


def _order(block: ConvBlock) -> str:
    names = {"batch_norm": "BN", "relu": "ReLU", "prelu": "PReLU", "hard_swish": "hard swish"}
    return "-".join(names[op] for op in block.then if op in names)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
