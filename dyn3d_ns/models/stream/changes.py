"""Where a new frame differs, seen in the images, and which Gaussians it touches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, UInt8
from torch import Tensor

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.models.stream.views import ChangedView, Rig, changed_view, grown, pixels_of, tiles_of

Images = UInt8[Tensor, "V H W 3"]
NOTABLE = 0.3
"""Pixels' worth of light from which on a view bears witness to a Gaussian."""
_BLUR = 5
"""Side of the square over which differences are averaged, pixels."""


class Touched(NamedTuple):
    """How much light of each Gaussian falls into changed pixels, by its blending weights."""

    total: Float[Tensor, "N"]
    """Pixels' worth of light in the crops."""
    fresh: Float[Tensor, "N"]
    """Of that, in pixels that differ from the frame before."""
    open: Float[Tensor, "N"]
    """Of that, in pixels that differ from what was fitted."""
    votes: Float[Tensor, "N"]
    """Part of the views that show it in which most of its light is in fresh pixels."""


class ChangeDetector:
    """Compares each frame with the one before, and with what each tile was last fitted to.

    The second finds what changes slowly, such as light: a difference that no two frames show adds up until
    it counts. Images of the past are not kept but for the one that tiles were fitted to.
    """

    def __init__(self, images: Images, floor: float, drift: float, noise: float) -> None:
        """Start at frame 0.

        Args:
            images: Its training images.
            floor: Least difference from the frame before that counts, levels of 255, were there no noise.
            drift: Least difference from what was fitted that counts, likewise.
            noise: Times the median difference of a view, which is what its noise makes, added to that.
        """
        self.before: Images = images
        self.fitted: Images = images.clone()
        self.floor, self.drift, self.noise = floor, drift, noise
        height, width = images.shape[1:3]
        self.ages = torch.zeros_like(tiles_of(torch.zeros(len(images), height, width)), dtype=torch.int32)
        """Frame that each tile was last fitted to."""

    def fresh(self, images: Images) -> Bool[Tensor, "V H W"]:
        """Return where the images differ from the frame before."""
        return grown(self._differs(images, self.before, self.floor), 3)

    def drifted(self, images: Images) -> Bool[Tensor, "V H W"]:
        """Return where they differ from what was fitted."""
        return grown(self._differs(images, self.fitted, self.drift), 3)

    def _differs(self, images: Images, others: Images, floor: float) -> Bool[Tensor, "V H W"]:
        difference = blurred((images.float() - others.float()).abs().amax(-1))
        return beyond_noise(difference, floor, self.noise)

    def fit(self, images: Images, tiles: Bool[Tensor, "V h w"], frame: int) -> None:
        """Note that tiles are being fitted to a frame, and go on to it."""
        height, width = images.shape[1:3]
        self.fitted = torch.where(pixels_of(tiles, height, width)[..., None], images, self.fitted)
        self.ages[tiles] = frame
        self.before = images

    def state(self) -> dict[str, Any]:
        """Return what a resumed training cannot tell from the images."""
        return {"ages": self.ages}

    def recall(self, ages: Int32[Tensor, "V h w"], frame: int, images_at: Any) -> None:
        """Take the state of a frame up again, given a function from a frame to its training images."""
        self.ages = ages.clone()
        self.before = images_at(frame)
        height, width = self.before.shape[1:3]
        for age in ages.unique().tolist():
            pixels = pixels_of(ages == age, height, width)[..., None]
            self.fitted = torch.where(pixels, images_at(int(age)), self.fitted)


def beyond_noise(difference: Float[Tensor, "V H W"], floor: float, noise: float) -> Bool[Tensor, "V H W"]:
    """Return where differences exceed a floor and so many times the view's median, which its noise makes."""
    level = floor + noise * difference.flatten(1).median(1).values
    return difference > level[:, None, None]


def blurred(values: Float[Tensor, "V H W"]) -> Float[Tensor, "V H W"]:
    """Average over small squares."""
    along = F.avg_pool2d(values[:, None], (1, _BLUR), 1, (0, _BLUR // 2))
    return F.avg_pool2d(along, (_BLUR, 1), 1, (_BLUR // 2, 0))[:, 0]


def changed_views(
    rig: Rig,
    images: Images,
    fresh: Bool[Tensor, "V H W"],
    stale: Bool[Tensor, "V H W"],
    gaussians: Gaussians,
) -> list[ChangedView]:
    """Return the crops of the views in which a tile has changed.

    Their tiles are the changed ones and those around: what changes reaches into these, and is to leave them
    as they are.
    """
    tiles = grown(tiles_of(fresh | stale), 1)
    cut = (changed_view(rig, v, images[v], tiles[v], fresh[v], stale[v], gaussians) for v in range(len(rig)))
    return [view for view in cut if view is not None]


def touched(views: list[ChangedView], gaussians: Gaussians) -> Touched:
    """Sum over the crops how much of each Gaussian's light falls where something has changed."""
    count, device = len(gaussians), gaussians.means.device
    total, fresh, opened = (torch.zeros(count, device=device) for _ in range(3))
    votes, seen = torch.zeros(count, device=device), torch.zeros(count, device=device)
    for view in views:
        own = gaussians.select(view.gaussians)
        weights = torch.stack([torch.ones_like(view.fresh), view.fresh, view.stale], -1)
        slope = view.light(own, weights, whole=True)
        total.index_add_(0, view.gaussians, slope[:, 0])
        fresh.index_add_(0, view.gaussians, slope[:, 1])
        opened.index_add_(0, view.gaussians, slope[:, 2])
        shows = slope[:, 0] > NOTABLE
        seen.index_add_(0, view.gaussians, shows.float())
        votes.index_add_(0, view.gaussians, (shows & (slope[:, 1] > 0.5 * slope[:, 0])).float())
    return Touched(total, fresh, opened, votes / seen.clamp_min(1.0))
