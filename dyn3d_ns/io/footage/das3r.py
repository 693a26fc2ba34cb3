"""What DAS3R or MonST3R made of a video: their own folder, and the tree that DAS3R rearranges it into."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dyn3d_ns.io.camera_file import brought_to
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.footage.base import Footage, Prior
from dyn3d_ns.io.footage.files import (
    array_size,
    by_number,
    check_proportion,
    checked_cameras,
    one_a_frame,
    read_array,
    read_probability,
)
from dyn3d_ns.io.frame_matching import ClipFrames, match_frames
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.recognised import image_sizes, images_in, natural_order, number_of
from dyn3d_ns.io.trajectories import read_cameras

TRAJECTORY = "pred_traj.txt"
_CERTAIN = 0.5


class _Kind(NamedTuple):
    folder: str
    """Folder in the rearranged tree; DAS3R's own has all files in one."""
    pattern: str


_KINDS = {
    "frames": _Kind("images", r"frame_\d+\.(png|jpg|jpeg)"),
    "depth": _Kind("depth_maps", r"frame_\d+\.npy"),
    "confidence": _Kind("confidence_maps", r"conf_\d+\.npy"),
    "motion": _Kind("dyna_avg", r"dyna_avg_\d+\.npy"),
    "masks": _Kind("dynamic_masks", r"dynamic_mask_\d+\.png"),
}


def is_das3r(path: Path) -> bool:
    """Tell whether a folder is one of the two."""
    if not (path / TRAJECTORY).is_file():
        return False
    return (path / "images").is_dir() or any(_Das3rFiles(path).matching("frames"))


class _Das3rFiles(NamedTuple):
    root: Path

    def matching(self, kind: str) -> dict[int, Path]:
        """Return files of a kind by number, of whichever of the two trees it is."""
        folder, pattern = _KINDS[kind]
        rearranged = (self.root / "images").is_dir()
        place = self.root / folder if rearranged else self.root
        if not place.is_dir():
            return {}
        if kind == "frames" and rearranged:
            return by_number(images_in(place))
        return by_number(p for p in place.iterdir() if re.fullmatch(pattern, p.name))


class Das3rFootage(Footage):
    """Cameras, depth and soft masks of the network's global alignment.

    `pred_traj.txt` holds camera-to-world poses, its quaternions begin with w. Depth counts only where the
    logarithm of its confidence is above 0.
    """

    camera_source = "DAS3R"

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises:
            DatasetError: it holds no frames, or not one map of a kind for each.
        """
        self.root, files = root, _Das3rFiles(root)
        found = files.matching("frames")
        if not found:
            raise DatasetError(f"{root} holds {TRAJECTORY}, but no frames (frame_0000.png or images/)")
        self._frames = sorted(found.values(), key=natural_order)
        self._files = {
            kind: one_a_frame(kind, files.matching(kind), self._frames) for kind in _KINDS if kind != "frames"
        }
        # MonST3R itself writes no probabilities of motion.
        self.camera_source = "DAS3R" if self._files["motion"] else "MonST3R"
        self.mask_source = self.camera_source if "dynamic_mask" in self.names else "none"
        self.advice = f"{root} is of DAS3R or MonST3R, which make neither; `dyn3d process` on its frames does"
        # The network's own size, which it crops to multiples, where frames are those of the video.
        if self._files["masks"]:
            check_proportion(self._files["masks"][0], image_sizes(self._files["masks"]), self.size, True)
        for kind in ("depth", "motion", "confidence"):
            for path in self._files[kind]:
                check_proportion(path, array_size(path), self.size, True)

    @property
    def frames(self) -> list[Path]:
        """Images in the order of their numbers."""
        return self._frames

    def cameras(self) -> Cameras:
        """Read the cameras; the intrinsics, which are those of the maps, are brought to the frames' size.

        Raises:
            DatasetError: there is not one for each frame.
        """
        found = read_cameras(self.root / TRAJECTORY, "das3r")
        if found.Ks is None:
            raise DatasetError(f"{self.root} lacks pred_intrinsics.txt, which the predictor writes beside")
        # As many poses as frames are in their order, wherever the frames' numbers start.
        numbers = [number_of(path) or 0 for path in self.frames]
        same = found.labels.count == len(numbers)
        frames = ClipFrames(np.arange(len(numbers)) if same else np.array(numbers))
        match = match_frames(frames, found.labels, str(self.root / TRAJECTORY), "poses")
        if not match.complete:
            raise DatasetError(f"{self.root}: {match.note}; remove the frames without, or run it again")
        if match.note:
            print(f"{self.root}: {match.note}", file=sys.stderr)
        chosen = replace(found.select(match.rows), sizes=self._map_sizes)
        Ks, _ = brought_to(chosen, self.size)
        assert Ks is not None
        return checked_cameras(self.root, Ks, chosen.camera_to_worlds, len(self.frames))

    @cached_property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What there is."""
        masks: set[Prior] = {"dynamic_mask", "motion"}
        depth: set[Prior] = {"depth", "disparity"}
        found = masks if self._files["motion"] or self._files["masks"] else set()
        return frozenset(found | (depth if self._files["depth"] else set()))

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read the binary mask of frame i, or where the probability is above one half."""
        if self._files["masks"]:
            return self._masks.on(i)
        return read_probability(self._files["motion"][i]) > _CERTAIN

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read the mean probability that each pixel of frame i moves."""
        return read_probability(self._files["motion"][i]) if self._files["motion"] else super().motion(i)

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i; 0 where the network was not confident."""
        path = self._files["depth"][i]
        depth = read_array(path)
        known = np.isfinite(depth) & (depth > 0)
        if self._files["confidence"]:
            confidence = read_array(self._files["confidence"][i])
            if confidence.shape != depth.shape:
                raise DamagedFileError(
                    f"{self._files['confidence'][i]} has the shape {confidence.shape}, {path.name} "
                    f"{depth.shape}; write both again"
                )
            known &= confidence > 0
        return np.where(known, depth, 0).astype(np.float32)

    @cached_property
    def _masks(self) -> MaskFiles:
        return MaskFiles(self._files["masks"])

    @property
    def _map_sizes(self) -> Float64[np.ndarray, "F 2"] | None:
        """Width and height that the intrinsics are for, if there are maps to tell it."""
        for kind in ("depth", "motion"):
            if self._files[kind]:
                return np.tile(np.array(array_size(self._files[kind][0]), np.float64), (len(self.frames), 1))
        return None
