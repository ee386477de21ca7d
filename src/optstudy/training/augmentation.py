"""Random crops and flips of a batch, drawn for each image by a generator on the images' device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PADDING = 4  # pixels, as in He et al. 2016 for CIFAR


def crop(x: Tensor, generator: torch.Generator, padding: int = PADDING) -> Tensor:
    """Return images (n, c, h, w), each shifted by its own offset of up to `padding` pixels, padded with zeros."""
    n, channels, height, width = x.shape
    device = x.device
    offsets = torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator, device=device)
    rows = offsets[0] + torch.arange(height, device=device)
    columns = offsets[1] + torch.arange(width, device=device)
    padded = functional.pad(x, (padding, padding, padding, padding))
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (n, c, h, w), each mirrored left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


AUGMENTATIONS = {"crop": crop, "flip": flip}
