"""Pictures of a trained field: any camera of a scene at any time, before the background of any scene."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.geometry.cameras import to_camera, to_pixels, viewmats_of
from dyn3d_ns.models.mononerf.proposals import Seen
from dyn3d_ns.models.mononerf.scene import (
    Features,
    MonoNerfScene,
    blended,
    expected,
    layers_of,
    weights_of,
)
from dyn3d_ns.models.mononerf.videos import RaysInCube

VISIBLE = 0.5
"""Share of what moves in a pixel from which its motion is shown at full."""
_KEPT = 16
"""Cameras for which what rests is kept, so that to go through time costs what moves alone."""


class Picture(NamedTuple):
    """What a camera shows."""

    rgb: Float[Tensor, "P 3"]
    static: Float[Tensor, "P 3"]
    """What rests alone."""
    depth: Float[Tensor, "P 1"]
    """Planar depth, world units."""
    blending: Float[Tensor, "P 1"]
    """Share of what moves."""


class Motion(NamedTuple):
    """What the dynamic field alone says of what a camera shows."""

    dynamic: Float[Tensor, "P 3"]
    """Its colour."""
    flow: Float[Tensor, "P 2"]
    """Pixels that what is seen moves within a frame, the camera at rest."""
    velocity: Float[Tensor, "P 3"]
    """World units per unit of time."""


class Rest(NamedTuple):
    """What rests alone, as a camera shows it at any time."""

    color: Float[Tensor, "P 3"]
    at: Float[Tensor, "P 1"]
    """How far along each ray its surface is, 0 to 1."""


class View(NamedTuple):
    """A camera at its time, in the world of a scene, before what rests in another or the same."""

    camera: Cameras
    time: float
    scene: int
    background: int


class MonoNerfPictures:
    """Renders cameras in chunks of rays; the features of all frames are kept."""

    def __init__(self, scene: MonoNerfScene, rays_per_chunk: int, samples: int) -> None:
        """Render a scene with so many samples a ray."""
        self.scene, self.rays_per_chunk, self.samples = scene, rays_per_chunk, samples
        self._features: tuple[Features, Features] | None = None
        self._rests: OrderedDict[tuple[int, bytes], Rest] = OrderedDict()

    def forget(self) -> None:
        """Drop what is kept, which is out of date once the networks have changed."""
        self._features = None
        self._rests.clear()

    @torch.no_grad()
    def features(self) -> tuple[Features, Features]:
        """Return the features of all frames, of what rests and of what moves."""
        if self._features is None:
            s = self.scene
            self._features = s.encode(s.spatial), s.encode(s.temporal)
        return self._features

    def render(self, view: View) -> Picture:
        """Render what a camera shows."""
        rest = self.rest(view.camera, view.background)
        shown = self._chunks(view.camera, lambda bundle, part: self._shown(bundle, view, part, rest))
        return Picture(*shown)

    def rest(self, camera: Cameras, scene: int) -> Rest:
        """Render what rests in a scene, which takes no time into account; it is kept for some cameras."""
        key = scene, _key(camera)
        if key not in self._rests:
            self._rests[key] = Rest(
                *self._chunks(camera, lambda bundle, _: self._rest_of(self.cast(bundle, camera, 0.0, scene)))
            )
        self._rests.move_to_end(key)
        while len(self._rests) > _KEPT:
            self._rests.popitem(last=False)
        return self._rests[key]

    def _rest_of(self, rays: RaysInCube) -> Rest:
        s = self.scene
        placed = s.sample(rays, self.samples, jitter=False, with_moving=False)
        resting = s.resting(rays, s.places(rays, placed.at), placed.surface, self.features()[0])
        weights = weights_of(resting.density, placed.lengths)
        color = blended(weights, resting.color(weights)).clamp(0, 1)
        return Rest(color, expected(weights, placed.at[..., None]))

    def motion(self, view: View) -> Motion:
        """Render what the dynamic field says."""
        return Motion(*self._chunks(view.camera, lambda bundle, _: self._moved(bundle, view)))

    def own_motion(self, camera: Cameras, frame: int) -> Motion:
        """Render what the dynamic field says of a training frame, through its own camera."""
        return self.motion(self._own_view(camera, frame))

    @torch.no_grad()
    def _chunks(
        self, camera: Cameras, chunk: Callable[[RayBundle, slice], tuple[Tensor, ...]]
    ) -> list[Float[Tensor, "P D"]]:
        """Return what is made of the rays of a camera, some of them at a time, and of which."""
        bundle = camera.generate_rays(camera_indices=0, keep_shape=True).flatten()
        parts = [slice(i, i + self.rays_per_chunk) for i in range(0, len(bundle), self.rays_per_chunk)]
        found = [chunk(bundle[part], part) for part in parts]
        return [torch.cat(values) for values in zip(*found, strict=True)]

    def cast(self, bundle: RayBundle, camera: Cameras, time: float, scene: int) -> RaysInCube:
        """Bring rays of a camera into the cube of a scene, with the frame next to a time and the nearest
        ones by pose."""
        videos = self.scene.videos
        frames = videos.frames_of(scene)
        frame = frames[(videos.times[frames] - time).abs().argmin()]
        candidates = videos.known().order[frame].sort().values
        position = camera.camera_to_worlds.reshape(-1, 3, 4)[0, :, 3]
        distances = (videos.poses[candidates][:, :, 3] - position.to(videos.poses)).norm(dim=1)
        order = candidates[distances.argsort(stable=True)]
        starts, ways = videos.rays(scene, bundle.origins, bundle.directions)
        count = len(starts)
        return RaysInCube(
            frame.expand(count),
            starts,
            ways,
            bundle.directions,
            starts.new_full((count,), time),
            order.expand(count, -1),
        )

    def _shown(self, bundle: RayBundle, view: View, part: slice, rest: Rest) -> Picture:
        s, (spatial, temporal) = self.scene, self.features()
        rays = self.cast(bundle, view.camera, view.time, view.scene)
        color, at = rest.color[part], rest.at[part]
        rgb, moved = color.clone(), torch.zeros_like(at)
        # Places at rest are those of the scene in front, also before another's background.
        surface = s.places(rays, at)[:, 0]
        # Of most rays nothing that moves is seen.
        grid = Seen(s.proposals.moving, rays.frames, rays.starts, rays.ways)
        some = s.proposals.meets(grid).nonzero()[:, 0]
        if len(some):
            behind = rays = rays.take(some)
            if view.background != view.scene:
                behind = self.cast(bundle, view.camera, view.time, view.background).take(some)
            placed = s.sample(rays, self.samples, jitter=False, with_moving=True, behind=behind)
            resting = s.resting(behind, s.places(behind, placed.at), placed.surface, spatial)
            places = s.places(rays, placed.at)
            found = s.moving(rays.times, places, temporal, rays.frames)
            layers = layers_of(found.density, found.blend, resting.density, placed.lengths)
            back = blended(layers.resting, resting.color(layers.resting))
            rgb[some] = blended(layers.moving, found.color) + back
            moved[some] = layers.moving.sum(1, keepdim=True)
            surface[some] = expected(layers.moving + layers.resting, places)
        world = s.videos.space(view.scene).to_world(surface)
        viewmats = viewmats_of(view.camera.camera_to_worlds.reshape(-1, 3, 4))
        depth = to_camera(world, viewmats[0])[:, 2:]
        return Picture(rgb.clamp(0, 1), color, depth, moved)

    def _moved(self, bundle: RayBundle, view: View) -> Motion:
        s, (_, temporal) = self.scene, self.features()
        rays = self.cast(bundle, view.camera, view.time, view.scene)
        placed = s.sample(rays, self.samples, jitter=False, with_moving=True)
        places = s.places(rays, placed.at)
        found = s.moving(rays.times, places, temporal, rays.frames)
        alone = weights_of(found.density, placed.lengths)
        share = (expected(alone, found.blend[..., None]) / VISIBLE).clamp(max=1)
        ends = expected(alone, places), expected(alone, found.after)
        flow, moved = self._motion(view.camera, view.scene, *ends)
        spacing = s.videos.known().spacing[rays.frames[0]]
        return Motion(blended(alone, found.color).clamp(0, 1), share * flow, share * moved / spacing)

    def _motion(
        self, camera: Cameras, scene: int, now: Float[Tensor, "R 3"], later: Float[Tensor, "R 3"]
    ) -> tuple[Float[Tensor, "R 2"], Float[Tensor, "R 3"]]:
        """Return how far places of the cube move within a frame, in the picture and in the world."""
        space = self.scene.videos.space(scene)
        ends = [space.to_world(places) for places in (now, later)]
        viewmat = viewmats_of(camera.camera_to_worlds.reshape(-1, 3, 4))[0]
        focal = torch.stack([camera.fx.flatten()[0], camera.fy.flatten()[0]])
        center = torch.stack([camera.cx.flatten()[0], camera.cy.flatten()[0]])
        pixels = [to_pixels(to_camera(end, viewmat), focal, center, 1e-3) for end in ends]
        return pixels[1] - pixels[0], ends[1] - ends[0]

    def rest_without(self, camera: Cameras, frame: int) -> Float[Tensor, "H W 3"]:
        """Return what rests, seen by the camera of a training frame, without looking at that frame."""
        scene = int(self.scene.videos.scene_of[frame])

        def chunk(bundle: RayBundle, part: slice) -> Rest:
            rays = self.cast(bundle, camera, 0.0, scene)
            return self._rest_of(rays._replace(sources=rays.sources[:, rays.sources[0] != frame]))

        found, _ = self._chunks(camera, chunk)
        return found.view(*self.scene.videos.sizes[frame].tolist(), 3)

    def flow_to_next(self, camera: Cameras, frame: int) -> Float[Tensor, "P 2"]:
        """Return the flow from a training frame, through its own camera, to the next, in pixels."""
        s, (_, temporal) = self.scene, self.features()
        after = s.videos.shifted(torch.tensor(frame, device=s.videos.times.device), 1)
        view = self._own_view(camera, frame)

        def chunk(bundle: RayBundle, part: slice) -> tuple[Tensor]:
            rays = self.cast(bundle, camera, view.time, view.scene)
            placed = s.sample(rays, self.samples, jitter=False, with_moving=True)
            moving = s.moving(rays.times, s.places(rays, placed.at), temporal, rays.frames)
            later = expected(weights_of(moving.density, placed.lengths), moving.after)
            return (s.videos.project(later[:, None], after.expand(len(later)))[0][:, 0],)

        (found,) = self._chunks(camera, chunk)
        height, width = s.videos.sizes[frame].tolist()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        own = torch.stack([columns, rows], dim=-1).view(-1, 2).to(found) + 0.5
        return found * s.videos.sizes[after].flip(0) - own

    def _own_view(self, camera: Cameras, frame: int) -> View:
        """Return a training frame's camera at its time, in its scene."""
        videos = self.scene.videos
        scene = int(videos.scene_of[frame])
        return View(camera, float(videos.times[frame]), scene, scene)

    def velocity(self, points: Float[Tensor, "P 3"], time: float, scene: int) -> Float[Tensor, "P 3"]:
        """Return the velocity at points of a scene's world, world units per unit of time."""
        s, (_, temporal) = self.scene, self.features()
        space, frame = s.videos.space(scene), int(s.videos.frames_of(scene)[0])
        inside = space.of_world(points)
        codes = s.temporal.code(temporal.pooled[scene])[None]
        times = points.new_full((len(points), 1), 2 * time - 1)
        moved = inside + 1e-2 * s.dynamic.velocity(s.dynamic.stem(inside, times, codes))
        return (space.to_world(moved) - points) / (1e-2 * s.videos.known().spacing[frame])


def _key(camera: Cameras) -> bytes:
    """Return what tells cameras apart but for their times."""
    known = (camera.camera_to_worlds, camera.fx, camera.fy, camera.cx, camera.cy, camera.height, camera.width)
    told = [value.detach().double().flatten() for value in (*known, camera.camera_type)]
    if camera.distortion_params is not None:
        told.append(camera.distortion_params.detach().double().flatten())
    return torch.cat(told).cpu().numpy().tobytes()
