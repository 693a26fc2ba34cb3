"""Features of places in the frame of their time, and where they were and will be in others (section 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dyn3d_ns.models.mononerf.fields import Guides
from dyn3d_ns.models.mononerf.lookup import PackedMaps
from dyn3d_ns.models.mononerf.motion import Motion
from dyn3d_ns.models.mononerf.videos import Videos


class Carried(NamedTuple):
    """Places at their time, and where they were a frame earlier and will be a frame later."""

    now: Float[Tensor, "P 3"]
    before: Float[Tensor, "P 3"]
    after: Float[Tensor, "P 3"]


class Sights(NamedTuple):
    """What frames show at places: features, colours and, if asked for, how the places lie to their depths."""

    videos: Videos
    maps: PackedMaps
    depth_cues: bool = False

    def at(self, places: Float[Tensor, "R S 3"], frames: Int64[Tensor, "R"]) -> Float[Tensor, "P C"]:
        """Look at places in a frame for each row; gradients reach the features, not the places."""
        places = places.detach()
        uv, _ = self.videos.project(places, frames)
        found = self.read(frames.repeat_interleave(places.shape[1]), uv.flatten(0, 1))
        if not self.depth_cues:
            return found
        return torch.cat([self.videos.depth_cues(places, frames, uv).flatten(0, 1), found], dim=-1)

    def read(self, frames: Int64[Tensor, "P"], uv: Float[Tensor, "P 2"]) -> Float[Tensor, "P C"]:
        """Read features and colours at places of pictures, 0 to 1 from corner to corner."""
        return torch.cat([self.maps.at(frames, uv), self.videos.tables().colors.at(frames, uv)], dim=-1)

    def guides(self, frames: Int64[Tensor, "R"], carried: Carried) -> Guides:
        """Look in frames and those around; beyond the ends of a video the frame itself stands in."""
        shape = (len(frames), -1, 3)
        here, around = self.at(carried.now.view(shape), frames), []
        for places, step in ((carried.before, -1), (carried.after, 1)):
            to = self.videos.shifted(frames, step)
            at_end = (to == frames).repeat_interleave(len(here) // len(frames))[:, None]
            around.append(torch.where(at_end, here, self.at(places.view(shape), to)))
        return Guides(here, *around)

    def farther(
        self, guides: Guides, frames: Int64[Tensor, "R"], carried: Carried, motion: Motion, reach: int
    ) -> Guides:
        """Look for places that neither their frame nor the one before (after) shows in those up to so many
        frames before (after), and take the nearest that does."""
        of = frames.repeat_interleave(len(carried.now) // len(frames))
        hidden = self._hidden(carried.now, of).nonzero()[:, 0]
        before = self._farther(guides.before, of, hidden, carried.before, motion, -1, reach)
        after = self._farther(guides.after, of, hidden, carried.after, motion, 1, reach)
        return Guides(guides.now, before, after)

    def _farther(
        self,
        known: Float[Tensor, "P C"],
        frames: Int64[Tensor, "P"],
        lost: Int64[Tensor, "L"],
        carried: Float[Tensor, "P 3"],
        motion: Motion,
        step: int,
        reach: int,
    ) -> Float[Tensor, "P C"]:
        to = self.videos.shifted(frames[lost], step)
        places = carried[lost].detach()
        for passed in range(1, reach + 1):
            shown = ~self._hidden(places, to)
            if passed > 1:
                looks = self.at(places[shown][:, None], to[shown])
                known = known.index_copy(0, lost[shown], looks)
            onwards = self.videos.shifted(to, step)
            some = ~shown & (onwards != to)
            if passed == reach or not bool(some.any()):
                break
            lost, places = lost[some], places[some]
            with torch.no_grad():
                own = motion.of(lost, self.videos.times[to[some]])
                places = own.carry(places, own.velocity(places), step)
            to = onwards[some]
        return known

    def _hidden(self, places: Float[Tensor, "P 3"], frames: Int64[Tensor, "P"]) -> Tensor:
        return self.videos.hidden(places.detach()[:, None], frames)[:, 0]
