"""Crops and flips of a batch are those of each image by itself."""

from __future__ import annotations

import torch

from optstudy.training.augmentation import PADDING, crop, flip


def test_each_image_is_cropped_at_an_offset_of_its_own() -> None:
    x = torch.rand(32, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    made = crop(x, torch.Generator().manual_seed(1))
    offsets = torch.randint(0, 2 * PADDING + 1, (2, 32, 1), generator=torch.Generator().manual_seed(1))
    for index, image in enumerate(x):  # the reference: pad one image, cut one window
        padded = torch.zeros(3, 9 + 2 * PADDING, 7 + 2 * PADDING)
        padded[:, PADDING:-PADDING, PADDING:-PADDING] = image
        top, left = int(offsets[0, index]), int(offsets[1, index])
        assert torch.equal(made[index], padded[:, top : top + 9, left : left + 7])
    assert len({tuple(o) for o in offsets[:, :, 0].T.tolist()}) > 20


def test_about_half_of_the_images_are_mirrored_and_the_rest_is_untouched() -> None:
    x = torch.rand(400, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    made = flip(x, torch.Generator().manual_seed(1))
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(made, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(made, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 160 < sum(mirrored) < 240


def test_the_seed_decides_crops_and_flips() -> None:
    x = torch.rand(8, 1, 8, 8)
    one, again, other = (flip(crop(x, g), g) for g in (torch.Generator().manual_seed(s) for s in (1, 1, 2)))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
