"""Frame after frame: what has changed, the fit of it, and the delta that the decoder will see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dyn3d_ns.gaussians.lattice import GaussianDecoder, LatticeGaussians
from dyn3d_ns.gaussians.streamed import gaussians_of
from dyn3d_ns.models.stream.changes import NOTABLE, ChangeDetector, changed_views, touched
from dyn3d_ns.models.stream.fit import LOOKS, FrameFit, FrameFitConfig, neighbours_of
from dyn3d_ns.models.stream.views import Rig, tiles_of

Images = UInt8[Tensor, "V H W 3"]


@dataclass
class EncoderConfig:
    """Settings of the choice of what a frame may change."""

    fit: FrameFitConfig = field(default_factory=FrameFitConfig)
    """Settings of the fit itself."""
    gate: bool = True
    """Change only what the images say has changed; everything may move and change otherwise, to compare."""
    change_floor: float = 6.0
    """Least difference from the frame before that counts as a change, levels of 255, were there no noise."""
    drift_floor: float = 4.0
    """Least difference from what was fitted last that counts, likewise."""
    change_noise: float = 3.0
    """Times a view's median difference that is added to these."""
    mover_votes: float = 0.7
    """Part of the views that must show a Gaussian mostly in changed pixels for it to move."""
    mover_stays: float = 0.1
    """Part of its light in changed pixels with which what moved before goes on moving."""
    changer_share: float = 0.1
    """Part of a Gaussian's light in pixels that are fitted anew with which its attributes may change."""


class StreamEncoder:
    """The state of a stream at its last frame, and what finds the next one's changes."""

    def __init__(
        self,
        decoder: GaussianDecoder,
        initial: LatticeGaussians,
        images: Images,
        rig: Rig,
        background: Float[Tensor, "3"],
        sh_degree: int,
        footprint: float,
        config: EncoderConfig,
    ) -> None:
        """Start after frame 0.

        Args:
            decoder: What players will decode with.
            initial: Frame 0 as they will see it.
            images: Training images of frame 0.
            rig: Training cameras.
            background: Colour behind the scene.
            sh_degree: Degree of the Gaussians' colours.
            footprint: Size of a pixel where the scene is, world units.
            config: Settings.
        """
        self.decoder, self.config, self.rig, self.footprint = decoder, config, rig, footprint
        self.background, self.sh_degree = background, sh_degree
        self.state, self.frame = initial, 0
        self.detector = ChangeDetector(images, config.change_floor, config.drift_floor, config.change_noise)
        first = gaussians_of(initial, decoder.lattice, images.device)
        self.neighbours = neighbours_of(first.means, config.fit.neighbours)
        self.known = torch.ones(len(initial), dtype=torch.bool, device=images.device)
        self.fit: FrameFit | None = None
        self.views: list[int] = []
        self._order: Iterator[int] = iter(())
        self._at: int | None = None

    @torch.no_grad()
    def begin(self, images: Images | None) -> int:
        """Set the fit of the next frame up and return the number of views in which something changes.

        Without images the frame is held as the one before.
        """
        detector, c, device = self.detector, self.config, self.known.device
        if images is None:
            images = detector.before
        before = gaussians_of(self.state, self.decoder.lattice, device)
        fresh, stale = detector.fresh(images), detector.drifted(images)
        if not c.gate:
            fresh = stale = torch.ones_like(fresh)
        views = changed_views(self.rig, images, fresh, stale, before)
        light = touched(views, before)
        moved = torch.from_numpy(self.state.moving).to(device)
        seen = light.total > NOTABLE
        moving = (light.votes >= c.mover_votes) & seen
        moving |= moved & seen & (light.fresh > c.mover_stays * light.total)
        changed = (light.open > c.changer_share * light.total) & seen | moving
        self.fit = FrameFit(
            self.state,
            before,
            self.decoder.lattice,
            moving,
            changed,
            views,
            self.footprint,
            c.fit,
        )
        self.fit.keep_rigid(self.neighbours, self.known)
        detector.fit(images, tiles_of(fresh | stale), self.frame + 1)
        self.views = [view.view for view in views]
        generator = torch.Generator().manual_seed(self.frame + 1)
        self._order = shuffled_rounds(len(views), generator)
        return len(views)

    def settle(self) -> None:
        """Round the motion grid and free the residuals around it; put new Gaussians where the error is."""
        assert self.fit is not None
        self.fit.settle()
        if self.config.fit.renewed and self.views:
            generator = torch.Generator().manual_seed(self.frame + 1)
            self.fit.renew(self.background, self.sh_degree, generator, self.frame % LOOKS)

    def next_view(self) -> int | None:
        """Go on to the next view in which something changes, in shuffled rounds; return its camera."""
        self._at = next(self._order, None)
        return None if self._at is None else self.views[self._at]

    def loss(self) -> dict[str, Tensor]:
        """Return the losses of that view."""
        assert self.fit is not None
        if self._at is None:
            return {"image": torch.zeros((), device=self.background.device, requires_grad=True)}
        return self.fit.loss(self._at, self.background, self.sh_degree)

    def end(self) -> dict[str, np.ndarray]:
        """Return the frame's delta and go on to what a decoder makes of it."""
        assert self.fit is not None
        planes = self.fit.planes()
        self.known &= torch.from_numpy(~self.fit.replaced).to(self.known.device)
        self.state = self.decoder.advance(self.state, planes)
        self.frame, self.fit = self.frame + 1, None
        return planes

    def memory(self) -> dict[str, Any]:
        """Return what a training that is resumed needs beside the stream."""
        return {**self.detector.state(), "known": self.known}

    def recall(
        self, state: LatticeGaussians, frame: int, memory: dict[str, Any], images_at: Callable[[int], Images]
    ) -> None:
        """Go on after a frame of a stream, with what :meth:`memory` gave there."""
        self.state, self.frame = state, frame
        self.known = memory["known"].to(self.known.device)
        self.detector.recall(memory["ages"], frame, images_at)


def shuffled_rounds(count: int, generator: torch.Generator) -> Iterator[int]:
    """Yield numbers below a count for ever, each once a round."""
    while count:
        yield from torch.randperm(count, generator=generator).tolist()
