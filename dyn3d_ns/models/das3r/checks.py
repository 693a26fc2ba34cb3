"""What a static scene cannot be learned from, said before training starts."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.io.errors import DatasetError

_LITTLE_RESTS = 0.1
"""Part of the pixels that must be static for a training without a warning."""
_STANDS_STILL = 1e-6
"""Distance in world units within which all cameras are at one place."""


def tell_what_is_odd(dataset: DynamicDataset, static: Float[Tensor, "V H W"]) -> None:
    """Name frames without a static pixel, masks that cover nearly everything, and a camera that stands still.

    Raises:
        DatasetError: the masks leave nothing.
    """
    rests = (static > 0.5).float().mean((1, 2))
    where = Path(dataset.image_filenames[0]).parent
    if float(rests.max()) == 0:
        raise DatasetError(
            f"the masks of {where} cover every pixel of every training frame, so nothing static is left "
            "to learn from; give other masks, or train with --pipeline.model.use-masks False"
        )
    empty = [Path(dataset.image_filenames[i]).name for i in (rests == 0).nonzero()[:, 0]]
    if empty:
        _warn(
            f"{len(empty)} of {len(rests)} training frames have no static pixel and teach nothing: "
            f"{', '.join(empty[:5])}{', …' if len(empty) > 5 else ''}"
        )
    elif float(rests.mean()) < _LITTLE_RESTS:
        _warn(
            f"Only {100 * float(rests.mean()):.1f} % of the pixels of {where} are static by their masks: "
            "expect holes, or train with --pipeline.model.use-masks False"
        )
    places = dataset.cameras.camera_to_worlds[:, :, 3]
    if float((places - places[0]).abs().max()) < _STANDS_STILL:
        _warn(
            f"The camera of {where} does not move: there is no parallax, so depth is a guess. What is behind "
            "what moves is learned all the same, as far as it is ever uncovered."
        )


def _warn(text: str) -> None:
    CONSOLE.print(f"[bold yellow]{text}")
