"""N3DV and Meet Room: a video a camera (``cam00.mp4``, ``…_3.mp4``) beside ``poses_bounds.npy``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import VIDEO_SUFFIXES
from dyn3d_ns.io.recordings.base import Calibration
from dyn3d_ns.io.recordings.layout import Layout, in_natural_order, one_a_name
from dyn3d_ns.io.recordings.poses_bounds import read_poses_bounds
from dyn3d_ns.io.recordings.readers import VideoFrames


class VideoLayout(Layout):
    """A video a camera; numbers may have gaps."""

    def __init__(self, root: Path, videos: list[Path]) -> None:
        super().__init__(root)
        self.poses_file = root / "poses_bounds.npy"
        self._videos = videos
        self.names = [path.stem for path in videos]
        meet_room = all(re.search(r"_\d+$", name) for name in self.names)
        self.title = "Meet Room (one video a camera)" if meet_room else "N3DV (one video a camera)"

    @classmethod
    def find(cls, root: Path) -> VideoLayout | None:
        """Recognise the layout; None if it is another one."""
        videos = in_natural_order(p for p in root.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        named = all(re.fullmatch(r"cam\D?\d+", path.stem) for path in videos)
        if len(videos) < 2 or not (named or (root / "poses_bounds.npy").is_file()):
            return None
        return cls(root, videos)

    def calibrations(self, dropped: Sequence[str]) -> dict[str, Calibration]:
        """Read poses_bounds.npy."""
        return read_poses_bounds(self.poses_file, list(one_a_name(self._videos)), dropped)

    def reader(self, name: str, planned: int | None) -> VideoFrames:
        """Open the camera's video."""
        path = one_a_name(self._videos)[name]
        if planned is not None:
            raise DatasetError(
                f"{path} is a video, and one that is still being written cannot be read; --follow takes "
                "folders of images: let the cameras write camNN/images/0000.png and on"
            )
        return VideoFrames(path)
