"""What the best network of a study gets wrong on the validation images."""

import base64
from dataclasses import dataclass

import optuna
import torch
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.data import ResidentData, validation_data
from drill_models.errors import DrillError
from drill_models.resolve import DataSource, resolve
from drill_models.step import Step
from drill_models.weights import unpacked
from search.console.tables import percent
from search.report.charts import digit_png
from search.storage.artifacts import WEIGHTS, Artifacts, artifact_folder

MAX_DIGITS = 48
"""Wrong digits that are shown."""


@dataclass(frozen=True)
class Digit:
    """A validation image that the network gets wrong: what it is, what the network says, the picture's address."""

    truth: int
    said: int
    picture: str


@dataclass(frozen=True)
class Errors:
    """What a network gets wrong.

    Attributes:
        line: In a sentence.
        labels: Of the rows and columns of the matrix.
        confusion: How often each true label (row) was given each label (column).
        digits: Some of the wrong ones.
    """

    line: str
    labels: tuple[int, ...]
    confusion: list[list[int]]
    digits: list[Digit]


def best_errors(study: optuna.Study, url: URL, trial: FrozenTrial, step: Step, source: DataSource) -> Errors | str:
    """What the best network gets wrong, by the weights that are kept of it; else why that cannot be said.

    Args:
        study: Of the network.
        url: Its storage, which has the weights beside it.
        trial: Of the network.
        step: It as a step.
        source: Where data lie; never downloaded.
    """
    try:
        weights = Artifacts(artifact_folder(url)).find(study, trial, WEIGHTS)
        if weights is None:
            return "The weights of the best network are not kept here, so its errors are not known."
        net = unpacked(weights, step.model)
        resolved = resolve(step.dataset, source)
        if resolved.instead_of_mnist is not None:
            return f"Its errors are not known here: {step.dataset} is not in {source.root}."
        data = validation_data(resolved)
    except DrillError as error:
        return f"Its errors are not known here: {error}."
    return _errors_of(net, data)


@torch.no_grad()
def _errors_of(net: torch.nn.Module, data: ResidentData) -> Errors:
    """What a network gets wrong on the held-out images."""
    images, labels = data.held_out.pixels, data.held_out.labels
    parts = (net(data.normalise(part.float())) for part in torch.split(images, 1000))
    said = torch.cat([part.argmax(1) for part in parts])
    n = int(labels.max()) + 1
    within = said < n
    confusion = torch.zeros(n, n, dtype=torch.int64)
    confusion.index_put_((labels[within], said[within]), torch.ones(int(within.sum()), dtype=torch.int64), True)
    wrong = torch.nonzero(said != labels).flatten()
    digits = [Digit(int(labels[i]), int(said[i]), _address(images[i, 0])) for i in wrong[:MAX_DIGITS].tolist()]
    right = percent(1 - len(wrong) / len(labels))
    line = f"Wrong after the last epoch: {len(wrong)} of {len(labels):,} validation images ({right} right)."
    if digits:
        below = f"The first {MAX_DIGITS}; below" if len(wrong) > MAX_DIGITS else "Below"
        line += f" {below} each its label, then what the network takes it for."
    return Errors(line, tuple(range(n)), confusion.tolist(), digits)


def _address(pixels: torch.Tensor) -> str:
    return "data:image/png;base64," + base64.b64encode(digit_png(pixels.tolist())).decode()
