"""Whole images of a grid, and of the frames of a stream of voxels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.fields.voxel_grid import voxels_of
from dyn3d_ns.fields.voxel_stream import VoxelState, decoder_of
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.geometry.ndc import GridSpace
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.models.stream.grid_fit import values_of
from dyn3d_ns.models.stream.grid_space import shoot
from dyn3d_ns.rendering.voxels import Steps, Voxels, render_rays
from dyn3d_ns.timeline import TIME_EPS, Timeline


class StreamedVoxels:
    """The frames of a stream as they are rendered; the last one that was shown is kept."""

    def __init__(self, player: StreamPlayer[VoxelState], timeline: Timeline) -> None:
        """Show a stream."""
        self._player, self._timeline = player, timeline
        self._lattice = decoder_of(player.reader.header).lattice
        self._shown: tuple[VoxelState, Voxels] | None = None

    def at(self, time: float, device: torch.device) -> Voxels:
        """Return the last frame at or before a normalised time, as far as the stream is written."""
        times = self._timeline.frame_times[: max(self._player.num_frames(), 1)]
        frame = max(int(np.searchsorted(times, time + TIME_EPS, side="right")) - 1, 0)
        state = self._player.seek(frame)
        if self._shown is None or self._shown[0] is not state:
            v = values_of(state, self._lattice, device)
            slots = torch.full_like(v.index, -1, dtype=torch.int32)
            self._shown = state, voxels_of(self._lattice.shape, v.index, v.density, v.colors, slots)
        return self._shown[1]


@torch.no_grad()
def render_image(
    voxels: Voxels,
    space: GridSpace,
    camera: Cameras,
    steps: Steps,
    background: Float[Tensor, "3"],
    rays_per_chunk: int,
) -> dict[str, Tensor]:
    """Return colour, planar depth in world units and accumulation of a camera's picture, ``[H, W, C]``."""
    height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    viewmat = viewmats_of(camera.camera_to_worlds.reshape(-1, 3, 4)[:1])
    K = camera.get_intrinsics_matrices().reshape(-1, 3, 3)[:1].to(viewmat)
    parts = []
    for some in torch.arange(height * width, device=viewmat.device).split(rays_per_chunk):
        at = torch.stack([some % width, some // width], 1) + 0.5
        half = torch.full((len(some),), 0.5, device=viewmat.device)
        shot = shoot(space, viewmat.expand(len(some), 4, 4), K.expand(len(some), 3, 3), at, half)
        found = render_rays(voxels, shot.rays, steps, voxels.density, voxels.colors)
        seen = found.along / found.accumulation.clamp_min(1e-6)
        depth = space.distances(shot.origins, shot.directions, seen)
        parts.append(torch.cat([found.colors, found.accumulation[:, None], depth[:, None]], 1))
    image = torch.cat(parts).view(height, width, 5)
    accumulation, depth = image[..., 3:4], image[..., 4:]
    solid = accumulation > 1e-3
    farthest = depth[solid].max() if bool(solid.any()) else depth.new_ones(())
    return {
        "rgb": (image[..., :3] + (1 - accumulation) * background.to(image)).clamp(0, 1),
        "depth": torch.where(solid, depth, farthest),
        "accumulation": accumulation,
    }
