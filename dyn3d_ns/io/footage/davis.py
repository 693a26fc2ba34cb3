"""A sequence of DAVIS: its frames and annotations, with the cameras of its clip."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Footage, Prior, Truth
from dyn3d_ns.io.footage.files import check_aspect
from dyn3d_ns.io.footage.sequence import SequenceFootage
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.sequences import DavisSequence

DavisMasks = Literal["auto", "annotations", "estimated", "none"]


class DavisFootage(SequenceFootage):
    """Masks of the annotations where all frames have one, else those of the clip."""

    sequence: DavisSequence
    truth_source = "annotations"

    def __init__(self, sequence: DavisSequence, masks: DavisMasks = "auto", clip: Path | None = None) -> None:
        """Open a sequence.

        Args:
            sequence: Which one.
            masks: Where masks to train with come from; `auto`: annotations if all frames have one.
            clip: Folder that `dyn3d process` wrote; `ROOT/dyn3d/<resolution>/<name>` if None.

        Raises:
            DatasetError: there is no clip, or not one annotation a frame where they are asked for.
        """
        super().__init__(sequence, clip)
        complete, count = len(self._annotations), len(self.sequence.annotations)
        if not complete:
            part = (
                f"{sequence.root / 'Annotations' / sequence.variant / sequence.name} has {count} annotations"
            )
            part += f" for {len(self.frames)} frames" if count else ""
            self.advice = f"{part}; {self.advice}"
            if masks == "annotations":
                raise DatasetError(
                    f"{part}, and --masks annotations needs one for each, of the frame's name; choose "
                    "estimated or none"
                )
        check_aspect(self._annotations, self.size)
        self.masks = ("annotations" if complete else "estimated") if masks == "auto" else masks
        self.mask_source = {"estimated": "dyn3d process"}.get(self.masks, self.masks)
        _ = self.clip

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the clip holds, and masks of the annotations."""
        masks: frozenset[Prior] = frozenset({"dynamic_mask", "motion"})
        if self.masks == "estimated":
            return super().names
        return (super().names | masks) if self.masks == "annotations" else super().names - masks

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i moves by itself: every annotated object."""
        return self.true_mask(i) if self.masks == "annotations" else super().dynamic_mask(i)

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel moves; with annotations these alone count."""
        return Footage.motion(self, i) if self.masks == "annotations" else super().motion(i)

    @property
    def truths(self) -> frozenset[Truth]:  # type: ignore[override]
        """Masks, where each frame has an annotation."""
        masks: frozenset[Truth] = frozenset({"dynamic_mask"} if self._annotations else ())
        return super().truths | masks

    def true_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i is annotated: any id but 0."""
        return self._masks.ids(i) > 0

    @cached_property
    def _masks(self) -> MaskFiles:
        """The annotations, read by one rule: palettes, ids, or black and white with soft edges."""
        masks = MaskFiles(self._annotations)
        if masks.note is not None:
            print(masks.note, file=sys.stderr)
        return masks

    @cached_property
    def _annotations(self) -> list[Path]:
        """Annotation of each frame, found by the frame's name; none unless all have one."""
        found = {path.stem: path for path in self.sequence.annotations}
        files = [found.get(frame.stem) for frame in self.frames]
        return [] if None in files else [file for file in files if file is not None]
