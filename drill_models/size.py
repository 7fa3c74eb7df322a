"""How large a network of a step file may be: asked before anything is built of it."""

from drill_models.count import count
from drill_models.errors import StepError
from drill_models.step import Step

MODEST = 10_000_000
"""Parameters that are built whatever the target: the first hand steps are above theirs."""
MAX_BUILT = 100_000_000
"""Parameters that are built at all: 1.6 GB with gradients and the optimiser's state."""
MAX_ACTIVATIONS = 20_000_000
"""Numbers alive at once for one image."""


def check_size(step: Step) -> None:
    """Checks that a step's network may be built: it keeps its own target's size, or is modest.

    Raises:
        StepError: It is larger.
    """
    counted = count(step.model)
    limit = min(max(step.target.max_params, MODEST), MAX_BUILT)
    if counted.n_params > limit:
        raise StepError(
            f"{step.name}: {counted.n_params:,} parameters are not built; its target is at most "
            f"{step.target.max_params:,}, and {limit:,} is the limit"
        )
    if counted.peak_activations > MAX_ACTIVATIONS:
        raise StepError(f"{step.name}: {counted.peak_activations:,} activations an image are not built")
