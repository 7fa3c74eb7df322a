"""Random affine changes of a batch of images, as tensor operations on the batch's own device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from drill_models.step import Augment


def augment_batch(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Turns, shifts and resizes each image by its own random amounts.

    Args:
        images: (N, 1, H, W) floats on the 0 to 255 scale.
        augment: The ranges to draw from.
        generator: Random state on the CPU; three to five numbers an image are drawn from it, on the CPU,
            so that a run's augmentation does not depend on the device.

    Returns:
        (N, 1, H, W), `augment.fill` where nothing of the original is left.

    Rotation is about the image's centre, as PIL's `Image.rotate` does it: pixel centres lie at +0.5.
    """
    n, _, height, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(augment.rotation))
    size = 1 + uniform(augment.scale) if augment.scale else torch.ones(n)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos, sin * (height / width)
    theta[:, 1, 0], theta[:, 1, 1] = -sin * (width / height), cos
    if augment.translation:
        # affine_grid's unit is half an image.
        theta[:, 0, 2] = uniform(augment.translation) * 2 / width
        theta[:, 1, 2] = uniform(augment.translation) * 2 / height
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(
        images - augment.fill,
        grid,
        mode=augment.interpolation,
        padding_mode="zeros",
        align_corners=False,
    )
    return moved + augment.fill
