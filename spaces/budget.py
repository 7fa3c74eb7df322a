"""The hard limits of a search, known before anything is built."""

from dataclasses import dataclass

from drill_models.count import count
from drill_models.step import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that every proposed network keeps, each "at most".

    Attributes:
        max_params: Trainable parameters.
        max_macs: Multiply-accumulates for one image, or None for no limit.
        max_activations: Peak number of activations alive at once for one image, or None.
    """

    max_params: int
    max_macs: int | None = None
    max_activations: int | None = None

    def excess(self, model: ModelConfig) -> dict[str, int]:
        """By how much a network exceeds each limit; 0 or less where it keeps it (Optuna's convention)."""
        counted = count(model)
        excess = {"n_params": counted.n_params - self.max_params}
        if self.max_macs is not None:
            excess["macs"] = counted.macs - self.max_macs
        if self.max_activations is not None:
            excess["activations"] = counted.peak_activations - self.max_activations
        return excess

    def admits(self, model: ModelConfig) -> bool:
        """Whether a network keeps every limit."""
        return max(self.excess(model).values()) <= 0

    def __str__(self) -> str:
        parts = [f"{self.max_params:,} parameters"]
        if self.max_macs is not None:
            parts.append(f"{self.max_macs:,} multiply-adds")
        if self.max_activations is not None:
            parts.append(f"{self.max_activations:,} activations")
        return ", ".join(parts)
