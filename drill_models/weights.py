"""Trained weights as safetensors: no code in them, and every library reads them."""

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from drill_models.build import build
from drill_models.errors import DrillError
from drill_models.step import ModelConfig


def packed(net: nn.Module, about: dict[str, str] | None = None) -> bytes:
    """A network's parameters and batch norm's statistics, by the names of its state dict.

    Args:
        net: Of `build`.
        about: What the file says of itself.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in net.state_dict().items()}
    return safetensors.torch.save(tensors, metadata=about)


def unpacked(content: bytes, model: ModelConfig) -> nn.Module:
    """The network with these weights, in evaluation mode.

    Raises:
        DrillError: The content is no safetensors, or is of another network.
    """
    net = build(model)
    try:
        net.load_state_dict(safetensors.torch.load(content))
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        # Types of numbers that this PyTorch does not know are a KeyError or AttributeError of safetensors.
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DrillError(f"these are no weights of this network: {first}") from error
    return net.eval()
