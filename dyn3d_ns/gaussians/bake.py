"""Frames of a stream as files that splat viewers open."""

from __future__ import annotations

from pathlib import Path

import torch

from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.gaussians.lattice import Lattice, LatticeGaussians
from dyn3d_ns.gaussians.streamed import gaussians_of
from dyn3d_ns.io.ply import write_splats
from dyn3d_ns.io.stream.look import world_of
from dyn3d_ns.io.stream.player import StreamPlayer


def ply_name(frame: int) -> str:
    """Return the name of a frame's file."""
    return f"frame_{frame:05d}.ply"


def bake_frame(player: StreamPlayer[LatticeGaussians], lattice: Lattice, frame: int, folder: Path) -> Path:
    """Write a frame of a stream as a 3DGS PLY in the data's units into a folder and return its path.

    Raises:
        MissingFileError, DamagedFileError: the stream does not play up to there.
    """
    gaussians = gaussians_of(player.seek(frame), lattice, torch.device("cpu"))
    gaussians = to_data_units(gaussians, world_of(player.reader.header))
    path = folder / ply_name(frame)
    write_splats(
        path,
        gaussians.means.numpy(),
        gaussians.quats.numpy(),
        gaussians.scales.numpy(),
        gaussians.opacities.numpy(),
        gaussians.colors.numpy(),
    )
    return path
