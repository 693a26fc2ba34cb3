"""What a trained field says of cells that its training has left unsure, so that pictures look where it is.

A training notes in grids what its samples find while the networks learn: cells that were dense once and that
no sample has met since stay dense, and the grids of frames that what moves is not fitted to stay empty.
"""

from __future__ import annotations

import torch
from jaxtyping import Int64
from rich.progress import track
from torch import Tensor

from dyn3d_ns.models.mononerf.proposals import DENSE, UNKNOWN
from dyn3d_ns.models.mononerf.scene import Features, MonoNerfScene
from dyn3d_ns.models.mononerf.videos import inside

AT_ONCE = 4096
"""Cells that are asked about at once."""


@torch.no_grad()
def survey_what_moves(scene: MonoNerfScene, seen: Features) -> None:
    """Ask about the dense cells of each frame, and about all that the frame shows where no sample met any.

    Cells whose places are not dense any more are emptied, those of frames without samples are filled.

    Args:
        scene: The trained field.
        seen: Features of all frames, of what moves.
    """
    grids = scene.proposals
    for frame in track(range(len(grids.moving)), "What moves, asked where it is"):
        grid = grids.moving[frame].view(-1)
        is_new = bool((grid == UNKNOWN).all())
        cells = _shown(scene, frame) if is_new else ((grid > DENSE) & (grid != UNKNOWN)).nonzero()[:, 0]
        for some in cells.split(AT_ONCE) if len(cells) else ():
            places = grids.places_in(some)
            of = torch.full_like(some, frame)
            found = scene.moving(scene.videos.times[of], places, seen, of).matter.amax(1)
            grid[some] = found if is_new else torch.where(found > DENSE, grid[some], found)


def _shown(scene: MonoNerfScene, frame: int) -> Int64[Tensor, "C"]:
    """Return the cells whose middles a frame shows."""
    grids = scene.proposals
    cells = torch.arange(grids.moving[frame].numel(), device=grids.moving.device)
    of = torch.tensor([frame], device=cells.device)
    uv, ahead = scene.videos.project(grids.places_in(cells).mean(1)[None], of)
    return cells[(ahead & inside(uv))[0]]
