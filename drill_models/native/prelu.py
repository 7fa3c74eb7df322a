"""PReLU's slope below zero, one a layer: in before a pass, its gradient out after one."""

from drill_models.native.chain import COEFFICIENTS, NEGATIVE
from drill_models.native.emit import Module


def spread(module: Module) -> str:
    """`(ptr coefficients, ptr slope, i64 channels)`: a layer's slope to the coefficients of each channel."""
    name = "prelu_spread"
    if module.has(name):
        return name
    f = module.function(name, ["ptr coefficients", "ptr slope", "i64 channels"])
    slope = f.load_scalar("%slope")
    with f.loop(0, "%channels") as c:
        f.store_scalar(slope, f.at("%coefficients", f.mul(c, COEFFICIENTS)), NEGATIVE)
    f.end()
    return name
