"""N3DV and Meet Room: a video a camera (``cam00.mp4``, ``…_3.mp4``) beside ``poses_bounds.npy``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import videos_in
from dyn3d_ns.io.recordings.base import Calibration
from dyn3d_ns.io.recordings.layout import Layout, one_a_name
from dyn3d_ns.io.recordings.poses_bounds import read_poses_bounds
from dyn3d_ns.io.recordings.readers import VideoFrames


class VideoLayout(Layout):
    """A video a camera; numbers may have gaps."""

    def __init__(self, root: Path, videos: list[Path], others: Sequence[Path] = ()) -> None:
        super().__init__(root)
        if others:
            left = ", ".join(path.name for path in others[:3]) + (", …" if len(others) > 3 else "")
            self.notes = (f"{root} holds {len(videos)} videos named for cameras; left out: {left}",)
        self.poses_file = root / "poses_bounds.npy"
        self._videos = videos
        self.names = [path.stem for path in videos]
        meet_room = all(re.search(r"_\d+$", name) for name in self.names)
        self.title = "Meet Room (one video a camera)" if meet_room else "N3DV (one video a camera)"

    @classmethod
    def find(cls, root: Path) -> VideoLayout | None:
        """Recognise the layout; None if it is another one."""
        there = videos_in(root)
        named = [path for path in there if re.fullmatch(r"cam\D?\d+", path.stem)]
        videos = named if len(named) > 1 else there
        if len(videos) < 2 or not (len(named) == len(there) or (root / "poses_bounds.npy").is_file()):
            return None
        return cls(root, videos, [path for path in there if path not in videos])

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
