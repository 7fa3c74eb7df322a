"""Augmentation against PIL, which the published steps used."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from drill_models.augment import augment_batch
from drill_models.data import ResidentData
from drill_models.train_config import Augment


def _angles(n: int, seed: int, limit: float) -> list[float]:
    """The degrees that `augment_batch` draws first."""
    draws = torch.rand(n, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return [float(d) * limit for d in draws]


def _images(digits: ResidentData, n: int) -> Tensor:
    return digits.train.pixels[:n].float()


def test_nearest_rotation_is_pils(digits: ResidentData) -> None:
    images = _images(digits, 64)
    augment = Augment(rotation=15, interpolation="nearest", fill=1)
    ours = augment_batch(images, augment, torch.Generator().manual_seed(5))
    same: list[float] = []
    turned_back: list[float] = []
    for image, out, angle in zip(images, ours, _angles(64, 5, 15), strict=True):
        source = Image.fromarray(image[0].byte().numpy())
        for sign, into in ((1, same), (-1, turned_back)):
            pil = np.asarray(source.rotate(sign * angle, resample=Image.Resampling.NEAREST, fillcolor=1))
            into.append(float((torch.from_numpy(pil.copy()) == out[0]).float().mean()))
    # PIL's angle is counter-clockwise; a pixel between two neighbours may be rounded the other way.
    best = max(np.mean(same), np.mean(turned_back))
    assert best > 0.99
    assert min(np.mean(same), np.mean(turned_back)) < 0.9


def test_shear_is_pils(digits: ResidentData) -> None:
    images = _images(digits, 64)
    augment = Augment(shear=20, interpolation="nearest", fill=1)
    ours = augment_batch(images, augment, torch.Generator().manual_seed(5))
    draws = torch.Generator().manual_seed(5)
    torch.rand(64, generator=draws)  # the angles, drawn first
    slants = torch.tan((torch.rand(64, generator=draws) * 2 - 1) * math.radians(20))
    same = []
    for image, out, slant in zip(images, ours, slants.tolist(), strict=True):
        source = Image.fromarray(image[0].byte().numpy())
        # About the centre, which lies between the pixels 13 and 14.
        matrix = (1, slant, -14 * slant, 0, 1, 0)
        pil = np.asarray(source.transform((28, 28), Image.Transform.AFFINE, matrix, fillcolor=1))
        same.append(float((torch.from_numpy(pil.copy()) == out[0]).float().mean()))
    assert np.mean(same) > 0.99
    assert slants.abs().max() > 0.3


def test_corners_have_the_fill() -> None:
    images = torch.full((8, 1, 28, 28), 200.0)
    out = augment_batch(
        images, Augment(rotation=180, interpolation="nearest", fill=1), torch.Generator().manual_seed(0)
    )
    assert set(out.flatten().tolist()) == {1.0, 200.0}


def test_translation_is_in_pixels() -> None:
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 14, 14] = 255
    out = augment_batch(images, Augment(translation=3, interpolation="nearest"), torch.Generator().manual_seed(0))
    rows = torch.nonzero(out[:, 0] > 0)
    shifts = rows[:, 1:] - 14
    assert shifts.abs().max() == 3
    assert shifts.min() == -3


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_scale_changes_the_size(scale: float) -> None:
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 7:21, 7:21] = 255
    out = augment_batch(images, Augment(scale=scale, interpolation="nearest"), torch.Generator().manual_seed(0))
    widths = (out[:, 0, 14] > 0).sum(1).float() / 14
    assert float(widths.max()) == pytest.approx(1 + scale, abs=0.08)
    assert float(widths.min()) == pytest.approx(1 - scale, abs=0.08)


def test_no_change_is_the_identity(digits: ResidentData) -> None:
    images = _images(digits, 4)
    out = augment_batch(images, Augment(), torch.Generator().manual_seed(0))
    assert torch.allclose(out, images, atol=1e-3)


def test_drawn_anew_from_the_generator(digits: ResidentData) -> None:
    images = _images(digits, 4)
    generator = torch.Generator().manual_seed(0)
    first, second = (augment_batch(images, Augment(rotation=10), generator) for _ in range(2))
    assert not torch.equal(first, second)
    again = augment_batch(images, Augment(rotation=10), torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
