"""The frames that a field gathers features from: the videos of all scenes, with their cameras and spaces.

Frames of all scenes are counted through, in the order of the training images. Each scene has a space of its
own (:class:`~dyn3d_ns.geometry.ndc.GridSpace`), which maps what its cameras see to the cube [-1, 1]^3; from
there to a frame's picture it is one projective map, since NDC are projective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from dyn3d_ns.geometry.cameras import divide, viewmats_of
from dyn3d_ns.geometry.ndc import GridSpace
from dyn3d_ns.models.mononerf.lookup import PackedMaps
from dyn3d_ns.models.mononerf.spaces import space_of, to_homogeneous_world

_DEPTH_SCALES = 0.05, 0.01
"""Differences of depth, as parts of it, that count as small."""
_NEAR = 1e-4
"""Depth below which places count as behind a camera."""
_ORDER = 12
"""Frames that one is compared with for a place's colour when nothing moves, at most."""


class Clip(NamedTuple):
    """The video of one scene."""

    images: UInt8[Tensor, "N H W 3"]
    moving: Bool[Tensor, "N H W"]
    """Where something moves."""
    cameras: Cameras
    """One a frame, with times in [0, 1]."""
    depth: Float[Tensor, "N H W"]
    """Planar depth, world units; 0 where it is not known."""
    box: Float[Tensor, "2 3"]
    """Box of the scene, used where its cameras do not look the same way."""
    depths: tuple[float, float] | None
    """Least and largest planar depth that the cameras see; None if that is not known."""


class Videos(nn.Module):
    """Frames, cameras and spaces as buffers, so that a checkpoint renders without the data."""

    def __init__(self, frames: int, scenes: int) -> None:
        """Make room for so many frames of so many scenes; :meth:`fill` brings them."""
        super().__init__()
        self.register_buffer("pixels", torch.zeros(0, 3, dtype=torch.uint8))
        self.register_buffer("moving", torch.zeros(0, dtype=torch.bool))
        self.register_buffer("depth", torch.zeros(0))
        self.register_buffer("sizes", torch.ones(frames, 2, dtype=torch.long))
        self.register_buffer("poses", torch.zeros(frames, 3, 4))
        self.register_buffer("intrinsics", torch.ones(frames, 4))
        self.register_buffer("times", torch.zeros(frames))
        self.register_buffer("scene_of", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("space_rows", torch.zeros(scenes, 23))
        self.forget()

    pixels: Tensor
    """RGB of all frames after one another [T, 3]."""
    moving: Tensor
    """Where something moves [T]."""
    depth: Tensor
    """Planar depth [T], world units; 0 where it is not known."""
    sizes: Tensor
    """Height and width [F, 2]."""
    poses: Tensor
    """OpenGL camera-to-world [F, 3, 4]."""
    intrinsics: Tensor
    """fx, fy, cx, cy in pixels [F, 4]."""
    times: Tensor
    """Normalised times [F]."""
    scene_of: Tensor
    """Scene of each frame [F]."""
    space_rows: Tensor
    """Spaces as rows of numbers [S, 23]."""

    def forget(self) -> None:
        """Drop what was derived from the buffers, after they have changed."""
        self._tables: _Tables | None = None
        self._derived: _Derived | None = None

    @torch.no_grad()
    def fill(self, clips: Sequence[Clip]) -> None:
        """Take the videos of all scenes."""
        device = self.poses.device
        self.pixels = torch.cat([clip.images.reshape(-1, 3) for clip in clips]).to(device)
        self.moving = torch.cat([clip.moving.flatten() for clip in clips]).to(device)
        self.depth = torch.cat([clip.depth.flatten() for clip in clips]).to(device)
        sizes = [[*clip.images.shape[1:3]] for clip in clips for _ in clip.images]
        self.sizes = torch.tensor(sizes, device=device)
        cameras = [clip.cameras for clip in clips]
        self.poses = torch.cat([c.camera_to_worlds for c in cameras]).to(device)
        rows = [torch.cat([c.fx, c.fy, c.cx, c.cy], dim=-1) for c in cameras]
        self.intrinsics = torch.cat(rows).to(device)
        self.times = torch.cat([c.times.flatten() for c in cameras if c.times is not None]).to(device)
        counts = torch.tensor([len(clip.images) for clip in clips])
        self.scene_of = torch.repeat_interleave(torch.arange(len(clips)), counts).to(device)
        spaces = [space_of(clip.cameras, clip.box, clip.depths) for clip in clips]
        self.space_rows = torch.stack([space.to_tensor() for space in spaces]).to(device)
        self.forget()

    def resize_like(self, state: dict[str, Tensor], prefix: str) -> None:
        """Take the shapes of a checkpoint's buffers, so that it can be loaded."""
        for name, buffer in list(self.named_buffers()):
            found = state.get(prefix + name)
            if found is not None and found.shape != buffer.shape:
                setattr(self, name, torch.zeros_like(found, device=buffer.device))
        self.forget()

    @property
    def num_scenes(self) -> int:
        """Number of scenes."""
        return len(self.space_rows)

    def frames_of(self, scene: int) -> Int64[Tensor, "N"]:
        """Return the frames of a scene, in the order of time."""
        return (self.scene_of == scene).nonzero()[:, 0]

    def shifted(self, frames: Int64[Tensor, "R"], by: int) -> Int64[Tensor, "R"]:
        """Return the frames so many later, or earlier if that is negative, or the ends of their videos."""
        known = self.known()
        return torch.maximum(torch.minimum(frames + by, known.last[frames]), known.first[frames])

    def images_of(self, scene: int) -> Float[Tensor, "N 3 H W"]:
        """Return the pictures of a scene in [0, 1]."""
        frames = self.frames_of(scene)
        starts, (height, width) = self.tables().colors.starts, self.sizes[frames[0]].tolist()
        first = int(starts[frames[0]])
        found = self.pixels[first : first + len(frames) * height * width]
        return found.view(len(frames), height, width, 3).permute(0, 3, 1, 2).float() / 255

    def mask_of(self, frame: int) -> Bool[Tensor, "H W"]:
        """Return where something moves in a frame; a view of the buffer."""
        return self._part(self.moving, frame)

    def picture_of(self, frame: int) -> Float[Tensor, "H W 3"]:
        """Return the picture of a frame in [0, 1]."""
        return self._part(self.tables().colors.rows, frame)

    def _part(self, rows: Shaped[Tensor, "T *C"], frame: int) -> Shaped[Tensor, "H W *C"]:
        height, width = self.sizes[frame].tolist()
        first = int(self.tables().colors.starts[frame])
        return rows[first : first + height * width].view(height, width, *rows.shape[1:])

    def space(self, scene: int) -> GridSpace:
        """Return the space of a scene."""
        return GridSpace.from_tensor(self.space_rows[scene])

    def tables(self) -> _Tables:
        """Colours, masks and depths of all frames, to look up."""
        if self._tables is None:
            heights, widths = self.sizes.unbind(1)
            areas = heights * widths
            starts = areas.cumsum(0) - areas
            colors = PackedMaps(self.pixels.float() / 255, starts, heights, widths)
            moving, depth = (
                colors._replace(rows=rows[:, None]) for rows in (self.moving.float(), self.depth)
            )
            self._tables = _Tables(colors, moving, depth)
        return self._tables

    def known(self) -> _Derived:
        """Ends of the videos, projections and orders of all frames."""
        if self._derived is None:
            self._derived = _derive(self)
        return self._derived

    def rays(
        self, scene: int, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]
    ) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
        """Return where rays of the world enter a scene's cube, and the way to where they leave it."""
        space = self.space(scene)
        start, way = space.rays(origins, directions)
        if space.is_ndc:
            _, _, z = start.split(1, 1)
            _, _, dz = way.split(1, 1)
            first, last = (-1 - z) / dz, (1 - z) / dz
        else:
            safe = torch.where(way.abs() < 1e-9, torch.full_like(way, 1e-9), way)
            a, b = (-1 - start) / safe, (1 - start) / safe
            first = torch.minimum(a, b).amax(1, keepdim=True).clamp_min(0)
            last = torch.maximum(torch.maximum(a, b).amin(1, keepdim=True), first + 1e-3)
        return start + first * way, (last - first) * way

    def project(
        self, places: Float[Tensor, "R S 3"], frames: Int64[Tensor, "R"]
    ) -> tuple[Float[Tensor, "R S 2"], Bool[Tensor, "R S"]]:
        """Project places of cubes to frames: 0 to 1 from corner to corner, and whether they lie ahead."""
        maps = self.known().projections[frames]
        return divide(places @ maps[:, :, :3].mT + maps[:, None, :, 3], _NEAR)

    @torch.no_grad()
    def depth_cues(
        self, places: Float[Tensor, "R S 3"], frames: Int64[Tensor, "R"], uv: Float[Tensor, "R S 2"]
    ) -> Float[Tensor, "R S 4"]:
        """Say how places of the cube lie to what frames show there, as far as their depth is known.

        Args:
            places: The places.
            frames: A frame for those of each ray.
            uv: Where it sees them, 0 to 1 from corner to corner.

        Returns:
            Whether they lie before (to -1) or behind (to 1), in a wide and a narrow range; whether at the
            surface (1); and whether that is known (1). All 0 where it is not.
        """
        apart, tells = self._apart(places, frames, uv)
        wide, narrow = (apart / scale for scale in _DEPTH_SCALES)
        cues = [wide.tanh(), narrow.tanh(), torch.exp(-narrow.square()), torch.ones_like(apart)]
        return torch.stack(cues, dim=-1) * tells[..., None]

    @torch.no_grad()
    def hidden(self, places: Float[Tensor, "R S 3"], frames: Int64[Tensor, "R"]) -> Bool[Tensor, "R S"]:
        """Return which places of the cube frames do not show: those beside the picture or well behind the
        depth there. Where that is not known they count as shown."""
        uv, ahead = self.project(places, frames)
        apart, tells = self._apart(places, frames, uv)
        return ~(inside(uv) & ahead) | (tells & (apart > max(_DEPTH_SCALES)))

    def _apart(
        self, places: Float[Tensor, "R S 3"], frames: Int64[Tensor, "R"], uv: Float[Tensor, "R S 2"]
    ) -> tuple[Float[Tensor, "R S"], Bool[Tensor, "R S"]]:
        """Return the logarithm of the depth of places by that of the frame there, and where it is known."""
        known = self.known()

        def along(row: Float[Tensor, "R 4"]) -> Float[Tensor, "R S"]:
            return (places @ row[:, :3, None])[..., 0] + row[:, None, 3]

        own = along(known.projections[frames][:, 2]) / along(known.scales[frames])
        shown = self.tables().depth.nearest(frames[:, None].expand(uv.shape[:2]), uv)[..., 0]
        tells = (shown > 0) & (own > 0) & inside(uv)
        apart = torch.log(own.clamp_min(1e-9) / shown.clamp_min(1e-9))
        return torch.where(tells, apart, torch.zeros_like(own)), tells

    def depth_places(
        self,
        scene: int,
        points: Float[Tensor, "R 3"],
        starts: Float[Tensor, "R 3"],
        ways: Float[Tensor, "R 3"],
    ) -> Float[Tensor, "R"]:
        """Return how far along rays of :meth:`rays` points of the world are, 0 at the start, 1 at the end."""
        places = self.space(scene).of_world(points)
        return ((places - starts) * ways).sum(1) / ways.square().sum(1).clamp_min(1e-12)


def inside(uv: Float[Tensor, "*P 2"]) -> Bool[Tensor, "*P"]:
    """Return which places lie in a picture, 0 to 1 from corner to corner."""
    return ((uv > 0) & (uv < 1)).all(-1)


class RaysInCube(NamedTuple):
    """Rays of frames, in the cubes of their scenes."""

    frames: Int64[Tensor, "R"]
    """Frame whose scene and, up to :attr:`times`, time a ray has."""
    starts: Float[Tensor, "R 3"]
    """Where rays enter the cube."""
    ways: Float[Tensor, "R 3"]
    """From there to where they leave it."""
    directions: Float[Tensor, "R 3"]
    """Unit directions in the world."""
    times: Float[Tensor, "R"]
    """Normalised times."""
    sources: Int64[Tensor, "R M"]
    """Frames to take colours of what rests from, best first."""

    def take(self, chosen: Int64[Tensor, "W"]) -> RaysInCube:
        """Return some of the rays."""
        return RaysInCube(*(value[chosen] for value in self))


class _Tables(NamedTuple):
    colors: PackedMaps
    moving: PackedMaps
    depth: PackedMaps


class _Derived(NamedTuple):
    first: Int64[Tensor, "F"]
    """First frame of the video that each is of."""
    last: Int64[Tensor, "F"]
    spacing: Float[Tensor, "F"]
    """Normalised time between two frames of the video."""
    projections: Float[Tensor, "F 3 4"]
    """From homogeneous places of the cube to the picture, 0 to 1 from corner to corner, times depth."""
    scales: Float[Tensor, "F 4"]
    """From homogeneous places of the cube to what that depth is in units of the world's."""
    order: Int64[Tensor, "F M"]
    """Frames of the same scene by the distance of their cameras, the nearest (itself) first."""


def _derive(videos: Videos) -> _Derived:
    scene_of, count = videos.scene_of, len(videos.scene_of)
    device = scene_of.device
    first, last = torch.empty_like(scene_of), torch.empty_like(scene_of)
    spacing, order = torch.ones(count, device=device), []
    for scene in range(videos.num_scenes):
        frames = videos.frames_of(scene)
        first[frames], last[frames] = frames[0], frames[-1]
        if len(frames) > 1:
            spacing[frames] = torch.diff(videos.times[frames]).median()
        order.append(_by_distance(videos.poses[frames]) + frames[0])
    fewest = min(found.shape[1] for found in order)
    maps = torch.stack([to_homogeneous_world(videos.space(int(s))) for s in range(videos.num_scenes)])
    viewmats = viewmats_of(videos.poses)[:, :3]
    fx, fy, cx, cy = videos.intrinsics.T
    height, width = videos.sizes.T
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [fx / width, zero, cx / width, zero, fy / height, cy / height, zero, zero, one]
    Ks = torch.stack(rows, dim=1).view(-1, 3, 3)
    projections = Ks @ viewmats @ maps[scene_of]
    order_of_all = torch.cat([found[:, :fewest] for found in order])
    return _Derived(first, last, spacing, projections, maps[scene_of][:, 3], order_of_all)


def _by_distance(poses: Float[Tensor, "N 3 4"]) -> Int64[Tensor, "N M"]:
    """Return for each camera the others by distance, spread over the video where it is long."""
    count = len(poses)
    kept = torch.linspace(0, count - 1, min(count, _ORDER), device=poses.device).round().long()
    distances = torch.cdist(poses[:, :, 3], poses[kept][:, :, 3])
    return kept[distances.argsort(dim=1, stable=True)]
