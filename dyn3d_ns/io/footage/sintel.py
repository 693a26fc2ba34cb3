"""A sequence of MPI Sintel: its frames and ground truth, and its clip for what is to be estimated."""

from __future__ import annotations

import itertools
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.footage.base import Footage, Prior, Truth
from dyn3d_ns.io.footage.files import check_aspect, checked_cameras
from dyn3d_ns.io.footage.sequence import SequenceFootage
from dyn3d_ns.io.ground_truth import KINDS, SintelTruth
from dyn3d_ns.io.recognised import number_of
from dyn3d_ns.io.sequences import SintelSequence

SintelCameras = Literal["auto", "gt", "estimated"]
SintelMasks = Literal["auto", "gt", "estimated", "none"]


class SintelFootage(SequenceFootage):
    """Ground truth where there is any, else what `dyn3d process` found; depth goes with the cameras."""

    sequence: SintelSequence

    def __init__(
        self,
        sequence: SintelSequence,
        cameras: SintelCameras = "auto",
        masks: SintelMasks = "auto",
        clip: Path | None = None,
    ) -> None:
        """Open a sequence.

        Args:
            sequence: Which one.
            cameras: Where cameras and depth come from; `auto`: ground truth if each frame has a camera.
            masks: Where masks to train with come from; `auto`: ground truth if each frame but the last has
                a label.
            clip: Folder that `dyn3d process` wrote; `ROOT/dyn3d/<pass>/<name>` if None.

        Raises:
            DatasetError: what is asked for is not there; the message says how to get it.
        """
        super().__init__(sequence, clip)
        self._numbers = [_number(path) for path in self.frames]
        self._found = {kind: self._files(kind) for kind in KINDS}
        self._demand("--cameras gt", cameras == "gt" and not self._all("camdata_left"), "camdata_left")
        self._demand("--masks gt", masks == "gt" and not self._labelled, "dynamic_label_perfect")
        self.true_cameras_used = cameras == "gt" or (cameras == "auto" and self._all("camdata_left"))
        self.masks = ("gt" if self._labelled else "estimated") if masks == "auto" else masks
        if not self.true_cameras_used or masks == "estimated":
            _ = self.clip
        self.camera_source = "ground truth" if self.true_cameras_used else "dyn3d process"
        without = "dyn3d process" if self.has_clip else "none"
        self.mask_source = {"gt": "ground truth", "estimated": without}.get(self.masks, "none")
        if self._labelled and self._truth is not None:
            check_aspect(self._truth.files["dynamic_label_perfect"], self.size)

    def cameras(self) -> Cameras:
        """Read the true cameras, or the clip's.

        Raises:
            PoseError: one is not finite.
        """
        if not self.true_cameras_used:
            return super().cameras()
        Ks, poses = self._read_cameras()
        return checked_cameras(self.root, Ks, poses, len(self.frames))

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What is there, of the ground truth and of the clip."""
        found: set[Prior] = set(super().names)
        choices: list[tuple[bool | None, set[Prior]]] = [
            ({"gt": True, "none": False}.get(self.masks), {"dynamic_mask", "motion"}),
            (self._all("depth") if self.true_cameras_used else None, {"depth", "disparity"}),
            (True if self._all("flow", len(self.frames) - 1) else None, {"flow"}),
        ]
        for there, names in choices:
            if there is not None:
                found = found | names if there else found - names
        return frozenset(found)

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i moves by itself.

        The last frame, which Sintel does not label, takes the label of the one before it along the true
        flow, or as it is where there is no flow.
        """
        if self.masks != "gt":
            return super().dynamic_mask(i)
        if self.has_true_mask(i):
            return self.true_mask(i)
        before = self.true_mask(i - 1)
        return _carried(before, self.flow(i - 1, i).flow) if self._has("flow", i - 1) else before

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel moves; with true masks these alone count."""
        return Footage.motion(self, i) if self.masks == "gt" else super().motion(i)

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i in the world of the cameras; 0 where it is invalid."""
        if not self.true_cameras_used:
            return super().depth(i)
        depth = self.truth.depth(self._place("depth", i))
        return np.where(self._invalid(i, depth.shape), 0, depth).astype(np.float32)

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j is known: the true one, or the clip's."""
        return (j == i + 1 and self._has("flow", i)) or super().has_flow(i, j)

    def flow(self, i: int, j: int) -> Flow:
        """Read the true flow to the next frame, valid where it is not hidden there, or the clip's flow."""
        if j != i + 1 or not self._has("flow", i):
            return super().flow(i, j)
        flow = self.truth.flow(self._place("flow", i))
        valid = np.isfinite(flow).all(axis=-1) & ~self._invalid(i, flow.shape[:2])
        if self._has("occlusions", i):
            hidden = self.truth.hidden(self._place("occlusions", i))
            valid &= ~self._same_size(hidden, valid.shape, "occlusions", i)
        return Flow(flow, valid)

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read the clip's points with the clip's cameras; there are none in the world of the true ones."""
        return None if self.true_cameras_used else super().points(middle)

    @property
    def truths(self) -> frozenset[Truth]:  # type: ignore[override]
        """What the ground truth has, whatever is trained with."""
        found: set[Truth] = set(super().truths)
        if self._all("camdata_left"):
            found.add("cameras")
        if self._labelled:
            found.add("dynamic_mask")
        return frozenset(found)

    def true_cameras(self) -> Float64[np.ndarray, "F 4 4"]:
        """Read the true camera-to-world poses."""
        Ks, poses = self._read_cameras()
        return checked_cameras(self.root, Ks, poses, len(self.frames)).camera_to_worlds

    def has_true_mask(self, i: int) -> bool:
        """Whether frame i is labelled; the last is not."""
        return self._has("dynamic_label_perfect", i)

    def true_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i truly moves; nowhere if it is not labelled (see :meth:`has_true_mask`)."""
        if not self.has_true_mask(i):
            width, height = self.size
            return np.zeros((height, width), bool)
        return self.truth.moving(self._place("dynamic_label_perfect", i))

    @property
    def truth(self) -> SintelTruth:
        """The ground truth of the sequence.

        Raises:
            MissingFileError: there is none.
        """
        if self._truth is None:
            raise MissingFileError(f"{self.sequence.part} holds no ground truth of {self.sequence.name}")
        return self._truth

    @cached_property
    def _truth(self) -> SintelTruth | None:
        part, name = self.sequence.part, self.sequence.name
        if not any((part / kind / name).is_dir() for kind in KINDS):
            return None
        return SintelTruth.open(part, name)

    def _files(self, kind: str) -> dict[int, int]:
        """Return the place of each frame's file in the ground truth, by the number in the file's name."""
        places = {} if self._truth is None else self._truth.places(kind)
        return {i: places[number] for i, number in enumerate(self._numbers) if number in places}

    def _has(self, kind: str, i: int) -> bool:
        return i in self._found[kind]

    def _place(self, kind: str, i: int) -> int:
        if not self._has(kind, i):
            name = f"{kind}/{self.sequence.name}"
            raise MissingFileError(f"{self.sequence.part} has no {name} of {self.frames[i].name}")
        return self._found[kind][i]

    def _all(self, kind: str, count: int | None = None) -> bool:
        """Whether the first so many frames have a file of this kind, all of them if None."""
        wanted = range(len(self.frames) if count is None else count)
        return bool(self._found[kind]) and all(i in self._found[kind] for i in wanted)

    @property
    def _labelled(self) -> bool:
        return self._all("dynamic_label_perfect", len(self.frames) - 1)

    def _demand(self, option: str, lacks: bool, kind: str) -> None:
        if lacks:
            found = len(self._found[kind])
            raise DatasetError(
                f"{option}: {self.sequence.part / kind / self.sequence.name} has files for {found} of "
                f"{len(self.frames)} frames; choose estimated, for which `{self.command}` is run once"
            )

    def _read_cameras(self) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 4 4"]]:
        Ks, poses = self.truth.cameras()
        rows = [self._place("camdata_left", i) for i in range(len(self.frames))]
        return Ks[rows], poses[rows]

    def _invalid(self, i: int, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
        if not self._has("invalid", i):
            return np.zeros(shape, bool)
        return self._same_size(self.truth.invalid(self._place("invalid", i)), shape, "invalid", i)

    def _same_size(self, mask: np.ndarray, shape: tuple[int, ...], kind: str, i: int) -> np.ndarray:
        if mask.shape != shape:
            raise DamagedFileError(
                f"{self.truth.files[kind][self._place(kind, i)]} is {mask.shape[1]}x{mask.shape[0]}, the "
                f"maps that it goes with {shape[1]}x{shape[0]}; restore the original"
            )
        return mask


def _number(path: Path) -> int:
    number = number_of(path)
    if number is None:
        raise DatasetError(f"{path} has no number in its name, by which frames and ground truth are matched")
    return number


def _carried(mask: Bool[np.ndarray, "h w"], flow: Float32[np.ndarray, "h w 2"]) -> Bool[np.ndarray, "h w"]:
    """Return where the pixels of a mask lie in the next frame: all four that each falls between."""
    rows, columns = np.nonzero(mask & np.isfinite(flow).all(axis=-1))
    ends = np.stack((columns, rows), axis=1) + flow[rows, columns]
    found = np.zeros_like(mask)
    low, high = np.floor(ends).astype(np.int64), np.ceil(ends).astype(np.int64)
    for x, y in itertools.product((low[:, 0], high[:, 0]), (low[:, 1], high[:, 1])):
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        found[y[inside], x[inside]] = True
    return found
