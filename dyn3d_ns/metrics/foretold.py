"""What a forecast expects its own pictures to be off by, to be held against what they are off by."""

import torch
from jaxtyping import Float
from torch import Tensor

FARTHEST = 32
"""Pixels that an expected displacement is cut at."""
_WAYS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))


def foretold_error(
    rgb: Float[Tensor, "H W 3"], pixels: Float[Tensor, "H W 1"], at_best: float = 0.0
) -> float:
    """Return the mean squared error to expect of a picture whose matter may lie elsewhere.

    The picture is compared with itself, moved each of four ways by as much as its matter is expected to be
    off; what it covers if it lies there counts too.

    Args:
        rgb: The picture.
        pixels: Expected displacement of what each pixel shows (root mean square), pixels.
        at_best: Mean squared error where nothing is displaced.
    """
    height, width = rgb.shape[:2]
    off = pixels[..., 0].clamp(0, FARTHEST)
    reach = int(off.max().ceil())
    if reach == 0:
        return at_best
    # What lies within the displacement of something that moves may be covered by it.
    around = torch.nn.functional.max_pool2d(off[None, None], 2 * reach + 1, 1, reach)[0, 0]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x, image = y.to(around), x.to(around), rgb.permute(2, 0, 1)[None]
    total = 0.0
    for right, down in _WAYS:
        places = torch.stack(
            [(2 * (x + right * around) + 1) / width - 1, (2 * (y + down * around) + 1) / height - 1], dim=-1
        )
        moved = torch.nn.functional.grid_sample(
            image, places[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        total += float((moved - image).square().mean())
    return at_best + total / len(_WAYS)
