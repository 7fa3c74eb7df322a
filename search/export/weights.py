"""A trained network for other programs: safetensors, ONNX, and PyTorch's exported program.

All take (N, 1, 28, 28) images, N at least 1, normalised as `about` says, and give (N, logits) scores.
"""

import io
import logging
import warnings
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from drill_models.count import count
from drill_models.data import MNIST_STATISTICS, validation_data
from drill_models.datasets import DatasetName, dataset_facts
from drill_models.errors import DataError, DrillError
from drill_models.resolve import DataSource, Resolved, is_present
from drill_models.step import Step
from drill_models.weights import packed

TrainedFormat = Literal["weights", "onnx", "torch"]

IMAGES, SCORES = "images", "scores"
"""Names of the input and the output in ONNX."""


def pixel_statistics(name: DatasetName, source: DataSource) -> tuple[float, float] | None:
    """Mean and deviation by which images are normalised; None where they are not known here.

    Those of MNIST are known; of another data set its training file is read if it is at hand, and never downloaded.
    """
    if name in ("mnist", "mnist-5k"):
        return MNIST_STATISTICS
    facts = dataset_facts(name)
    try:
        if not is_present(facts, source.root):
            return None
        data = validation_data(Resolved(facts, source.root))
    except DataError:
        return None
    return data.mean, data.std


def about(step: Step, made_by: str, statistics: tuple[float, float] | None) -> dict[str, str]:
    """What a file says of itself.

    Args:
        step: What was trained.
        made_by: How, in a sentence.
        statistics: Mean and deviation by which images were normalised, if they are known.
    """
    mean, std = statistics if statistics is not None else ("mean", "deviation of the training pixels")
    return {
        "name": step.name,
        "made_by": made_by,
        "dataset": step.dataset,
        "n_params": str(count(step.model).n_params),
        "input": f"(N, 1, 28, 28) floats: (pixel / 255 - {mean}) / {std}",
        "output": "(N, logits) scores, highest is the label",
        "recipe": step.digest,
    }


def check_libraries(kind: TrainedFormat) -> None:
    """Raises `DrillError` where a library is missing that a format needs."""
    missing = [name for name in ("onnx", "onnxscript") if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise DrillError(f"--format onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def convert(kind: TrainedFormat, net: nn.Module, said: dict[str, str]) -> bytes:
    """A trained network as a file's content.

    Args:
        kind: `weights` are safetensors by the names of the exported Python file's `Net`.
        net: In evaluation mode, on the CPU.
        said: Of `about`.
    """
    match kind:
        case "weights":
            return packed(net, said)
        case "onnx":
            return _onnx(net, said)
        case "torch":
            return _exported_program(net, said)


def _example() -> tuple[torch.Tensor]:
    # Two images: PyTorch takes a batch of one for a constant.
    return (torch.zeros(2, 1, 28, 28),)


def _batch() -> tuple[dict[int, torch.export.Dim]]:
    return ({0: torch.export.Dim("batch", min=1)},)


def _onnx(net: nn.Module, said: dict[str, str]) -> bytes:
    from onnx import helper

    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own making, about its own parts
        program = torch.onnx.export(
            net,
            _example(),
            dynamo=True,
            input_names=[IMAGES],
            output_names=[SCORES],
            dynamic_shapes=_batch(),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    helper.set_model_props(model, said)
    return bytes(model.SerializeToString())


def _exported_program(net: nn.Module, said: dict[str, str]) -> bytes:
    program = torch.export.export(net, _example(), dynamic_shapes=_batch())
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={f"{key}.txt": value for key, value in said.items()})
    return content.getvalue()
