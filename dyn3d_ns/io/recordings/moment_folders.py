"""StreamRF and 3DGStream: a folder a moment with an image of each camera.

StreamRF has ``frames/0000/images/camNN.png`` and ``frames/0000/poses_bounds.npy``, 3DGStream
``frame000001/camNN.png`` (or ``images/``) and a COLMAP model in ``frame000001/sparse/0``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, shift_pixel_centers
from dyn3d_ns.io.colmap_models import ColmapModel, read_colmap
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import images_in
from dyn3d_ns.io.recordings.base import Calibration, PointCloud
from dyn3d_ns.io.recordings.layout import Layout, counted, image_reader, in_natural_order, one_a_name
from dyn3d_ns.io.recordings.poses_bounds import read_poses_bounds
from dyn3d_ns.io.recordings.readers import ImageFrames

_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE")


class _MomentFolders(Layout):
    """A folder a moment; ``inner`` is where images lie in it."""

    def __init__(self, root: Path, moments: list[Path], inner: str) -> None:
        super().__init__(root)
        self._moments, self._inner = moments, inner
        self._first = in_natural_order(images_in(moments[0] / inner))
        self.names = [path.stem for path in self._first]

    def reader(self, name: str, planned: int | None) -> ImageFrames:
        """List the camera's images, one a moment."""
        file = one_a_name(self._first)[name].name
        parent, first = self._moments[0].parent, self._moments[0].name
        if planned is not None:
            name_of = counted(first)
            return ImageFrames(parent, lambda i: parent / name_of(i) / self._inner / file, planned)
        paths = [moment / self._inner / file for moment in self._moments]
        return image_reader(parent, name, paths, [path if path.is_file() else None for path in paths])

    def length(self) -> str:
        """Return the number of folders."""
        return str(len(self._moments))


class StreamRFFolders(_MomentFolders):
    """StreamRF's own frames."""

    title = "StreamRF (one folder a moment)"

    def __init__(self, root: Path, moments: list[Path]) -> None:
        super().__init__(root, moments, "images")
        places = (moments[0] / "poses_bounds.npy", root / "poses_bounds.npy")
        self.poses_file = next((path for path in places if path.is_file()), places[0])

    @classmethod
    def find(cls, root: Path) -> StreamRFFolders | None:
        """Recognise the layout; None if it is another one."""
        moments = _numbered(root / "frames", r"\d+")
        return cls(root, moments) if moments and images_in(moments[0] / "images") else None

    def calibrations(self, dropped: Sequence[str]) -> dict[str, Calibration]:
        """Read the first moment's poses_bounds.npy: the cameras stand still."""
        return read_poses_bounds(self.poses_file, self.names, dropped)


class ColmapMoments(_MomentFolders):
    """3DGStream's frames, whose cameras are the first moment's COLMAP model's, by the images' names."""

    title = "3DGStream (one folder a moment, COLMAP)"

    def __init__(self, root: Path, moments: list[Path]) -> None:
        super().__init__(root, moments, "images" if images_in(moments[0] / "images") else ".")
        self.poses_file = moments[0] / "sparse/0"

    @classmethod
    def find(cls, root: Path) -> ColmapMoments | None:
        """Recognise the layout; None if it is another one."""
        moments = _numbered(root, r"frame_?\d+")
        if not moments or not any(images_in(moments[0] / inner) for inner in ("images", ".")):
            return None
        return cls(root, moments)

    def calibrations(self, dropped: Sequence[str]) -> dict[str, Calibration]:
        """Read the model."""
        model, found = self._model, {}
        for k, image in enumerate(model.names):
            name = Path(image).stem
            if name in dropped:
                continue
            if model.models[k] not in _PINHOLES:
                raise DatasetError(
                    f"{self.poses_file}: {image} has a {model.models[k]} lens; 3DGStream's images are "
                    "undistorted: run `colmap image_undistorter` and give what it writes"
                )
            width, height = (round(float(value)) for value in self._sizes[k])
            found[name] = Calibration(self._poses[k], self._Ks[k], (width, height))
        unknown = sorted(set(dropped) - {*self.names, *(Path(image).stem for image in model.names)})
        if unknown:
            raise DatasetError(f"no camera is named {', '.join(unknown)}; there are {', '.join(self.names)}")
        self._check_names(found, dropped)
        return found

    def points(self) -> PointCloud | None:
        """Return the model's points."""
        return PointCloud(self._model.xyz, self._model.rgb) if len(self._model.xyz) else None

    def _check_names(self, found: dict[str, Calibration], dropped: Sequence[str]) -> None:
        kept = [name for name in self.names if name not in dropped]
        without = [name for name in kept if name not in found]
        gone = [name for name in found if name not in kept]
        if without or gone:
            what = (
                f"no camera of {', '.join(without)}"
                if without
                else f"images of {', '.join(gone)} are missing"
            )
            raise DatasetError(
                f"{self.poses_file} knows {len(found)} cameras, {self._moments[0]} holds {len(kept)} images: "
                f"{what}; restore them or use --drop-cameras {' '.join(without or gone)}"
            )

    @cached_property
    def _model(self) -> ColmapModel:
        return read_colmap(self._moments[0])

    @cached_property
    def _poses(self):
        return flip_axes(self._model.cameras.camera_to_worlds)

    @cached_property
    def _Ks(self):
        assert self._model.cameras.Ks is not None
        return shift_pixel_centers(self._model.cameras.Ks, HALF_PIXEL)

    @cached_property
    def _sizes(self):
        assert self._model.cameras.sizes is not None
        return self._model.cameras.sizes


def _numbered(parent: Path, pattern: str) -> list[Path]:
    """List the folders whose names follow a pattern, in natural order."""
    if not parent.is_dir():
        return []
    return in_natural_order(p for p in parent.iterdir() if re.fullmatch(pattern, p.name) and p.is_dir())
