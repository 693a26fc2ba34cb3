"""Maps of many pictures of any sizes in one table, read between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class PackedMaps(NamedTuple):
    """Pixels of all pictures after one another."""

    rows: Float[Tensor, "T C"]
    """Values of each pixel."""
    starts: Int64[Tensor, "F"]
    """First pixel of each picture."""
    heights: Int64[Tensor, "F"]
    widths: Int64[Tensor, "F"]

    def at(self, pictures: Int64[Tensor, "P"], uv: Float[Tensor, "P 2"]) -> Float[Tensor, "P C"]:
        """Read each picture at a place, 0 to 1 from corner to corner; beyond the border its last pixels.

        Gradients reach the table, not the places.
        """
        starts, heights, widths = self.starts[pictures], self.heights[pictures], self.widths[pictures]
        with torch.no_grad():
            x, x0 = _between(uv[:, 0], widths)
            y, y0 = _between(uv[:, 1], heights)
            first = starts + y0 * widths + x0
            right = (widths > 1).long()
            below = torch.where(heights > 1, widths, torch.zeros_like(widths))
            index = torch.stack([first, first + right, first + below, first + below + right], dim=1)
            shares = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=1)
        return torch.nn.functional.embedding_bag(
            index, self.rows, per_sample_weights=shares.to(self.rows), mode="sum"
        )

    def nearest(self, pictures: Int64[Tensor, "*P"], uv: Float[Tensor, "*P 2"]) -> Float[Tensor, "*P C"]:
        """Read the pixel that a place lies in."""
        widths, heights = self.widths[pictures], self.heights[pictures]
        x = (uv[..., 0] * widths).long().clamp_min(0).minimum(widths - 1)
        y = (uv[..., 1] * heights).long().clamp_min(0).minimum(heights - 1)
        return self.rows[self.starts[pictures] + y * widths + x]


def _between(place: Float[Tensor, "P"], size: Int64[Tensor, "P"]) -> tuple[Tensor, Int64[Tensor, "P"]]:
    """Return the share of the second of the two pixels that a place lies between, and the first."""
    at = (torch.nan_to_num(place) * size - 0.5).clamp_min(0).minimum(size - 1.0)
    first = at.floor().minimum((size - 2.0).clamp_min(0))
    return at - first, first.long()


def pack(maps: Sequence[Float[Tensor, "N C h w"]]) -> PackedMaps:
    """Put the maps of several videos into one table; gradients go through."""
    device = maps[0].device
    rows = torch.cat([found.permute(0, 2, 3, 1).reshape(-1, found.shape[1]) for found in maps])
    counts = torch.tensor([len(found) for found in maps])
    heights = torch.repeat_interleave(torch.tensor([f.shape[2] for f in maps]), counts).to(device)
    widths = torch.repeat_interleave(torch.tensor([f.shape[3] for f in maps]), counts).to(device)
    areas = heights * widths
    return PackedMaps(rows, areas.cumsum(0) - areas, heights, widths)
