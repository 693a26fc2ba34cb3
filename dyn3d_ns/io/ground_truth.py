"""Ground truth of single videos: MPI Sintel's files, and DAVIS's annotations beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from dyn3d_ns.geometry.cameras import centers
from dyn3d_ns.io.arrays import read_png
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, PoseError
from dyn3d_ns.io.flow_files import read_file, read_flo
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.recognised import files_in, number_of

KINDS = {
    "camdata_left": ".cam",
    "depth": ".dpt",
    "flow": ".flo",
    "occlusions": ".png",
    "dynamic_label_perfect": ".png",
    "invalid": ".png",
}
"""Folders of Sintel's ground truth, and what their files end in."""
_TAG = np.array([202021.25], dtype="<f4").tobytes()


def read_dpt(path: Path) -> Float32[np.ndarray, "H W"]:
    """Read a depth map: planar z in scene units.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .dpt file, or its length is not what its header states.
    """
    content = _tagged(path, ".dpt")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", count=2, offset=4))
    expected = 12 + 4 * width * height
    if width <= 0 or height <= 0 or len(content) != expected:
        raise DamagedFileError(
            f"{path} has {len(content)} bytes, but states {width}x{height} pixels; restore the original"
        )
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width).astype(np.float32)


def read_cam(path: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 4"]]:
    """Read a camera: intrinsics and world-to-camera pose (OpenCV axes, pixel centres at whole numbers)."""
    content = _tagged(path, ".cam")
    if len(content) != 4 + 8 * 21:
        raise DamagedFileError(f"{path} has {len(content)} bytes instead of 172; restore the original")
    numbers = np.frombuffer(content, "<f8", offset=4)
    return numbers[:9].reshape(3, 3).copy(), numbers[9:].reshape(3, 4).copy()


def _tagged(path: Path, kind: str) -> bytes:
    content = read_file(path)
    if len(content) < 12 or content[:4] != _TAG:
        raise DamagedFileError(f"{path} is not a {kind} file of Sintel; restore the original")
    return content


@dataclass(frozen=True)
class SintelTruth:
    """Ground truth of one sequence: a folder a kind, a file a frame."""

    root: Path
    """Folder that holds `camdata_left/`, `depth/`, `flow/`, `occlusions/`, `dynamic_label_perfect/`."""
    sequence: str
    files: dict[str, list[Path]]
    """Sorted files of each kind that there is."""
    annotations: list[Path]
    """Instance ids of each frame in DAVIS's layout beside it, if any."""

    @classmethod
    def open(cls, folder: Path, sequence: str | None = None) -> SintelTruth:
        """Find the files of a sequence.

        Raises:
            MissingFileError: there is no ground truth, or it is not clear which sequence is meant.
        """
        root = folder / "training" if (folder / "training").is_dir() else folder
        present = [kind for kind in KINDS if (root / kind).is_dir()]
        names = sorted({p.name for kind in present for p in (root / kind).iterdir() if p.is_dir()})
        if not names:
            raise MissingFileError(
                f"{folder} holds no ground truth: expected {', '.join(KINDS)} in it or in its training/, "
                "each with a folder a sequence"
            )
        if sequence is None and len(names) == 1:
            sequence = names[0]
        if sequence is None or sequence not in names:
            asked = f"no sequence {sequence!r}" if sequence else "several sequences"
            raise MissingFileError(f"{root} holds {asked}; give one with --sequence: {', '.join(names)}")
        files = {}
        for kind in present:
            found = files_in(root / kind / sequence, (KINDS[kind],))
            if found:
                files[kind] = found
        return cls(root, sequence, files, _davis(folder, sequence))

    def cameras(self) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 4 4"]]:
        """Read intrinsics and camera-to-world poses.

        Raises:
            PoseError: one is not finite, or no rotation and shift.
        """
        pairs = [read_cam(path) for path in self.files["camdata_left"]]
        views = np.tile(np.eye(4), (len(pairs), 1, 1))
        views[:, :3] = [view for _, view in pairs]
        rotations = views[:, :3, :3]
        wrong = ~(np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)) < 1e-2).all((1, 2))
        wrong |= ~np.isfinite(views).all((1, 2))
        if wrong.any():
            path = self.files["camdata_left"][int(np.flatnonzero(wrong)[0])]
            raise PoseError(f"{path}: its pose is not finite, or no rotation and shift; restore the original")
        return np.stack([K for K, _ in pairs]), np.linalg.inv(views)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        if "depth" in self.files:
            height, width = self.depth(0).shape
        elif "dynamic_label_perfect" in self.files:
            height, width = self.moving(0).shape
        else:
            K, _ = read_cam(self.files["camdata_left"][0])
            width, height = (round(2 * center + 1) for center in centers(K)[0])
        return height, width

    def depth(self, frame: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z of a frame."""
        return read_dpt(self.files["depth"][frame])

    def flow(self, frame: int) -> Float32[np.ndarray, "H W 2"]:
        """Read the flow of a frame to the next, in pixels."""
        return read_flo(self.files["flow"][frame])

    def instances(self, frame: int) -> Int32[np.ndarray, "H W"]:
        """Read the instance ids of a frame from DAVIS's annotations; 0 is static."""
        return read_png(self.annotations[frame], None).astype(np.int32)

    def moving(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read where a frame moves."""
        return self._masks["dynamic_label_perfect"].on(frame)

    def hidden(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read which pixels of a frame are hidden in the next."""
        return self._masks["occlusions"].on(frame)

    def invalid(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read which pixels of a frame have no true depth and flow."""
        return self._masks["invalid"].on(frame)

    @cached_property
    def _masks(self) -> dict[str, MaskFiles]:
        return {kind: MaskFiles(files) for kind, files in self.files.items() if KINDS[kind] == ".png"}

    def places(self, kind: str) -> dict[int, int]:
        """Return where the files of a kind stand in their list, by the number in their names.

        The last frame of a sequence has no flow, in Sintel itself no label either.
        """
        files = self.files.get(kind, [])
        return {number: k for k, path in enumerate(files) if (number := number_of(path)) is not None}


def _davis(folder: Path, sequence: str) -> list[Path]:
    """Find instance ids of the sequence; DAVIS names it without Sintel's number."""
    base = folder / "Annotations" / "480p"
    for name in (sequence, sequence.rsplit("_", 1)[0]):
        if (base / name).is_dir():
            return files_in(base / name, (".png",))
    return []
