"""QUEEN, 4DGaussians, Meet Room: a folder of images a camera beside ``poses_bounds.npy``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from dyn3d_ns.io.recognised import images_in
from dyn3d_ns.io.recordings.base import Calibration
from dyn3d_ns.io.recordings.layout import Layout, counted, image_reader, in_natural_order
from dyn3d_ns.io.recordings.poses_bounds import read_poses_bounds
from dyn3d_ns.io.recordings.readers import ImageFrames
from dyn3d_ns.io.series import Series, picture_series


class CameraFolders(Layout):
    """``camNN/images/0000.png`` or ``camNN/0000.png``."""

    title = "QUEEN, 4DGaussians (one folder of images a camera)"

    def __init__(self, root: Path, folders: dict[str, Path]) -> None:
        super().__init__(root)
        self.poses_file = root / "poses_bounds.npy"
        self._folders = folders
        self.names = list(folders)

    @classmethod
    def find(cls, root: Path) -> CameraFolders | None:
        """Recognise the layout; None if it is another one."""
        if not (root / "poses_bounds.npy").is_file():
            return None
        folders: dict[str, Path] = {}
        # LLFF's own folders of one camera's images are images, images_4 and so on.
        named = [p for p in root.iterdir() if re.search(r"\d$", p.name) and not p.name.startswith("images")]
        for folder in in_natural_order(p for p in named if p.is_dir()):
            inner = next((p for p in (folder / "images", folder) if images_in(p)), None)
            if inner is not None:
                folders[folder.name] = inner
        return cls(root, folders) if len(folders) > 1 else None

    def calibrations(self, dropped: Sequence[str]) -> dict[str, Calibration]:
        """Read poses_bounds.npy."""
        return read_poses_bounds(self.poses_file, self.names, dropped)

    def reader(self, name: str, planned: int | None) -> ImageFrames:
        """List the camera's images; those of all cameras go by one order of names."""
        folder = self._folders[name]
        if planned is not None:
            first = picture_series(folder).images[0]
            name_of = counted(first.stem)
            return ImageFrames(folder, lambda i: folder / f"{name_of(i)}{first.suffix}", planned)
        by_stem = {path.stem: path for path in self._series[name].images}
        note = self._series[name].note
        if note is not None and not self.notes:
            self.notes = (f"{note}; likewise in the folders of other cameras",)
        moments = [folder / stem for stem in self._stems]
        return image_reader(folder, name, moments, [by_stem.get(stem) for stem in self._stems])

    def length(self) -> str:
        """Return the number of images of the camera that has most."""
        return str(max(len(images_in(folder)) for folder in self._folders.values()))

    @cached_property
    def _series(self) -> dict[str, Series]:
        return {name: picture_series(folder) for name, folder in self._folders.items()}

    @cached_property
    def _stems(self) -> list[str]:
        stems = {path.stem for series in self._series.values() for path in series.images}
        return [path.name for path in in_natural_order(Path(stem) for stem in stems)]
