"""The field of all scenes: networks, the frames they look at, and samples along rays (3.3 to 3.7)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dyn3d_ns.models.mononerf.encoders import VideoEncoder
from dyn3d_ns.models.mononerf.fields import AtRest, DynamicField, Guides, Moving, StaticField
from dyn3d_ns.models.mononerf.guides import Carried, Sights
from dyn3d_ns.models.mononerf.lookup import PackedMaps, pack
from dyn3d_ns.models.mononerf.motion import Integration, Motion
from dyn3d_ns.models.mononerf.proposals import Placed, Proposals, Seen, seen_weights
from dyn3d_ns.models.mononerf.videos import RaysInCube, Videos, inside

HIDDEN = 0.1
"""Part of the training rays that look at no frame, so that the network knows what to show where none does."""
VISIBLE = 1e-3
"""Share of a ray below which the colour of what rests is not evaluated, outside of its own training."""
BEHIND = 1e3
"""Length that the last sample of a ray stands for, in lengths of the ray: nothing is behind it."""


class Features(NamedTuple):
    """What an encoder says of all frames."""

    maps: PackedMaps
    pooled: Float[Tensor, "S P"]
    """What the codes of the scenes' videos are made of."""

    def detach(self) -> Features:
        """Return the same without gradients."""
        return Features(self.maps._replace(rows=self.maps.rows.detach()), self.pooled.detach())


class RestingSamples(NamedTuple):
    """The static field at samples of rays."""

    field: StaticField
    at: AtRest
    directions: Float[Tensor, "R 3"]
    density: Float[Tensor, "R S"]

    def color(self, weights: Float[Tensor, "R S"] | None = None) -> Float[Tensor, "R S 3"]:
        """Return the colours of samples; with weights only of those that count, 0 of the others."""
        rows, count = self.density.shape
        directions = self.directions[:, None].expand(rows, count, 3).flatten(0, 1)
        if weights is None:
            return self.field.colors(self.at, directions).view(rows, count, 3)
        some = (weights.flatten() > VISIBLE).nonzero()[:, 0]
        found = weights.new_zeros(rows * count, 3)
        found[some] = self.field.colors(AtRest(*(value[some] for value in self.at)), directions[some])
        return found.view(rows, count, 3)


class MovingSamples(NamedTuple):
    """The dynamic field at samples of rays."""

    density: Float[Tensor, "R S"]
    color: Float[Tensor, "R S 3"]
    blend: Float[Tensor, "R S"]
    velocity: Float[Tensor, "R S 3"]
    """Of the cube, per frame."""
    before: Float[Tensor, "R S 3"]
    """Where places were a frame earlier."""
    after: Float[Tensor, "R S 3"]
    """Where places will be a frame later."""

    @property
    def matter(self) -> Float[Tensor, "R S"]:
        """Density of what moves alone, without gradients, to place samples by."""
        return (self.density * self.blend).detach()


class Layers(NamedTuple):
    """Shares of samples in what a ray shows, of both fields together."""

    moving: Float[Tensor, "R S"]
    resting: Float[Tensor, "R S"]


class MonoNerfScene(nn.Module):
    """Networks, frames and proposals of a training on one scene or several."""

    def __init__(
        self,
        videos: Videos,
        spatial: VideoEncoder,
        temporal: VideoEncoder,
        static: StaticField,
        dynamic: DynamicField,
        proposals: Proposals,
        integration: Integration,
        flow_steps: int,
        sources: int,
        guided: bool = True,
        depth_cues: bool = True,
        reach: int = 1,
    ) -> None:
        """Put the parts together.

        Args:
            videos: Frames of all scenes.
            spatial: Encoder of what the static field sees.
            temporal: Encoder of what the dynamic field sees.
            static: Field of what rests.
            dynamic: Field of what moves.
            proposals: Where matter is.
            integration: How places are carried along the velocity.
            flow_steps: Steps of Euler's rule for a frame.
            sources: Frames that the static field looks at.
            guided: Whether the dynamic field looks at the frames around; else its own stands in for them,
                which is the ablation.
            depth_cues: Whether it is told how places lie to the depths that frames have.
            reach: Frames over which it looks for places that the frame of their time does not show.
        """
        super().__init__()
        self.videos, self.spatial, self.temporal = videos, spatial, temporal
        self.static, self.dynamic, self.proposals = static, dynamic, proposals
        self.integration: Integration = integration
        self.flow_steps, self.sources = flow_steps, sources
        self.guided, self.depth_cues, self.reach = guided, depth_cues, reach

    def encode(self, encoder: VideoEncoder) -> Features:
        """Return the features of all frames, with gradients if they are on."""
        found = [encoder.features(self.videos.images_of(scene)) for scene in range(self.videos.num_scenes)]
        return Features(pack([maps for maps, _ in found]), torch.stack([pooled for _, pooled in found]))

    def sample(
        self, rays: RaysInCube, count: int, jitter: bool, with_moving: bool, behind: RaysInCube | None = None
    ) -> Placed:
        """Place samples on rays; ``behind`` are the same rays in the scene that is shown at rest."""
        rest, grids = behind or rays, self.proposals
        seen = [Seen(grids.resting, self.videos.scene_of[rest.frames], rest.starts, rest.ways)]
        if with_moving:
            seen.append(Seen(grids.moving, rays.frames, rays.starts, rays.ways))
        return grids.sample(seen, count, jitter)

    def places(self, rays: RaysInCube, at: Float[Tensor, "R S"]) -> Float[Tensor, "R S 3"]:
        """Return the places of samples in the cube."""
        return rays.starts[:, None] + rays.ways[:, None] * at[..., None]

    def resting(
        self, rays: RaysInCube, places: Float[Tensor, "R S 3"], surface: Float[Tensor, "R"], seen: Features
    ) -> RestingSamples:
        """Evaluate the static field."""
        rows, count = places.shape[:2]
        frames, sights = self._unhidden(rays, surface), Sights(self.videos, seen.maps)
        kept = torch.rand(rows, 1, device=places.device) >= (HIDDEN if torch.is_grad_enabled() else 0)
        features, shows = [], []
        for k in range(frames.shape[1]):
            uv, ahead = self.videos.project(places, frames[:, k])
            of = frames[:, k, None].expand(rows, count)
            features.append(sights.read(of.flatten(), uv.flatten(0, 1)))
            covered = self.videos.tables().moving.nearest(of, uv)[..., 0] > 0.5
            shows.append((inside(uv) & ahead & kept & ~covered).flatten())
        found = self.static.geometry(
            places.flatten(0, 1), torch.stack(features, dim=1), torch.stack(shows, dim=1)
        )
        return RestingSamples(self.static, found, rays.directions, found.density.view(rows, count))

    @torch.no_grad()
    def _unhidden(self, rays: RaysInCube, surface: Float[Tensor, "R"]) -> Int64[Tensor, "R K"]:
        """Return the best sources of each ray in which its surface is not covered by what moves."""
        sources = rays.sources
        if sources.shape[1] <= self.sources:
            return sources
        places = self.places(rays, surface[:, None]).expand(-1, sources.shape[1], 3).reshape(-1, 1, 3)
        uv, ahead = (
            found.view(*sources.shape, -1) for found in self.videos.project(places, sources.flatten())
        )
        covered = self.videos.tables().moving.nearest(sources, uv)[..., 0] > 0.5
        usable = inside(uv) & ahead[..., 0] & ~covered
        order = torch.arange(sources.shape[1], device=sources.device) + sources.shape[1] * ~usable
        return sources.gather(1, order.argsort(dim=1)[:, : self.sources])

    def motion(
        self, times: Float[Tensor, "R"], count: int, seen: Features, frames: Int64[Tensor, "R"]
    ) -> Motion:
        """Return how so many places a row move, from the times of the rows, in the videos of given frames."""
        videos = self.videos
        codes = self.temporal.code(seen.pooled)[videos.scene_of[frames]]
        all_times, spacing = (
            value.repeat_interleave(count)[:, None] for value in (times, videos.known().spacing[frames])
        )
        return Motion(self.dynamic, codes, all_times, spacing, self.integration, self.flow_steps)

    def moving(
        self,
        times: Float[Tensor, "R"],
        places: Float[Tensor, "R S 3"],
        seen: Features,
        frames: Int64[Tensor, "R"],
        farther: bool = True,
    ) -> MovingSamples:
        """Evaluate the dynamic field.

        Args:
            times: Normalised times of rays, or of other places that lie together.
            places: Samples of each.
            seen: Features of all frames.
            frames: Frames next to the times.
            farther: Whether places that their frames do not show are looked for farther than a frame away.
        """
        rows, count = places.shape[:2]
        flat = places.flatten(0, 1)
        motion = self.motion(times, count, seen, frames)
        stem = motion.stem(flat)
        velocity = self.dynamic.velocity(stem)
        before, after = (motion.carry(flat, velocity, passed) for passed in (-1.0, 1.0))
        # How many frames lie between the times and those of their frames, -0.5 to 0.5.
        ahead = (self.videos.times[frames] - times) / self.videos.known().spacing[frames]
        shift = 0.0
        if float(ahead.abs().max()) > 1e-4:
            shift = ahead.repeat_interleave(count)[:, None] * velocity
        carried = Carried(flat + shift, before + shift, after + shift)
        found: Moving = self.dynamic(stem, self._guides(frames, carried, motion, seen, farther))
        shape = (rows, count)
        return MovingSamples(
            found.matter.density.view(shape),
            found.matter.color.view(*shape, 3),
            found.blend.view(shape),
            velocity.view(*shape, 3),
            before.view(*shape, 3),
            after.view(*shape, 3),
        )

    def _guides(
        self, frames: Int64[Tensor, "R"], carried: Carried, motion: Motion, seen: Features, farther: bool
    ) -> Guides:
        sights = Sights(self.videos, seen.maps, self.depth_cues)
        if not self.guided:
            here = sights.at(carried.now.view(len(frames), -1, 3), frames)
            return Guides(here, here, here)
        found = sights.guides(frames, carried)
        if not farther or self.reach < 2:
            return found
        return sights.farther(found, frames, carried, motion, self.reach)

    def note_moving(
        self, frames: Int64[Tensor, "R"], places: Float[Tensor, "R S 3"], found: MovingSamples
    ) -> None:
        """Take what was found of frames over, to place samples by."""
        grids = self.proposals
        grids.note(grids.moving, frames, places.detach(), found.matter)


def optical(density: Float[Tensor, "R S"], lengths: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Return densities times lengths, of which the last one goes on for ever."""
    last = torch.ones_like(lengths)
    last[:, -1] = BEHIND
    return density * lengths * last


def weights_of(density: Float[Tensor, "R S"], lengths: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Return the share of each sample in what a ray shows of one field."""
    return seen_weights(optical(density, lengths))


def layers_of(
    moving: Float[Tensor, "R S"],
    blend: Float[Tensor, "R S"],
    resting: Float[Tensor, "R S"],
    lengths: Float[Tensor, "R S"],
) -> Layers:
    """Return the shares of both fields' samples: alpha of the moving one by b, of the other by 1 - b."""
    front = -torch.expm1(-optical(moving, lengths)) * blend
    back = -torch.expm1(-optical(resting, lengths)) * (1 - blend)
    passed = (1 - front) * (1 - back) + 1e-6
    through = torch.cumprod(torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=1), dim=1)
    return Layers(through * front, through * back)


def blended(weights: Float[Tensor, "R S"], values: Float[Tensor, "R S D"]) -> Float[Tensor, "R D"]:
    """Sum values over the samples of rays."""
    return (weights[..., None] * values).sum(1)


def expected(weights: Float[Tensor, "R S"], values: Float[Tensor, "R S D"]) -> Float[Tensor, "R D"]:
    """Return the mean of values over the samples of rays."""
    return blended(weights, values) / weights.sum(1, keepdim=True).clamp_min(1e-3)
