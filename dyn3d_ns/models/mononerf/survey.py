"""What a trained field says of cells that its training has left unsure, so that pictures look where it is.

A training notes in grids what its samples find while the networks learn: cells that were dense once and that
no sample has met since stay dense, and the grids of frames that what moves is not fitted to stay empty but
for what was carried there.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from rich.progress import track
from torch import Tensor

from dyn3d_ns.models.mononerf.proposals import DENSE, is_dense
from dyn3d_ns.models.mononerf.scene import Features, MonoNerfScene
from dyn3d_ns.models.mononerf.videos import inside

AT_ONCE = 4096
"""Cells that are asked about at once."""


@torch.no_grad()
def survey_what_moves(scene: MonoNerfScene, seen: Features, fitted: Bool[Tensor, "F"]) -> None:
    """Ask about the dense cells of each frame, and of a frame that was not fitted about all that it shows.

    Cells of fitted frames whose places are not dense any more are emptied; those of the others are filled.

    Args:
        scene: The trained field.
        seen: Features of all frames, of what moves.
        fitted: Frames that what moves was fitted to, whose own rays have met what they show.
    """
    grids = scene.proposals
    for frame in track(range(len(grids.moving)), "What moves, asked where it is", transient=True):
        grid = grids.moving[frame].view(-1)
        asked = is_dense(grid)
        if not fitted[frame]:
            asked |= _shown(scene, frame)
        cells = asked.nonzero()[:, 0]
        for some in cells.split(AT_ONCE) if len(cells) else ():
            of = torch.full_like(some, frame)
            found = scene.moving(scene.videos.times[of], grids.places_in(some), seen, of).matter.amax(1)
            grid[some] = torch.where((found > DENSE) & fitted[frame], grid[some], found)


def _shown(scene: MonoNerfScene, frame: int) -> Bool[Tensor, "C"]:
    """Return which cells have their middle in what a frame shows."""
    grids = scene.proposals
    cells = torch.arange(grids.moving[frame].numel(), device=grids.moving.device)
    of = torch.tensor([frame], device=cells.device)
    uv, ahead = scene.videos.project(grids.places_in(cells).mean(1)[None], of)
    return (ahead & inside(uv))[0]
