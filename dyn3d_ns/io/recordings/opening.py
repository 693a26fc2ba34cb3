"""Recognise and open recordings, whatever their layout, and check that their cameras fit together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dyn3d_ns.geometry.cameras import scale_intrinsics
from dyn3d_ns.io.errors import DatasetError, ImageSizeError, MissingFileError
from dyn3d_ns.io.recognised import VIDEO_SUFFIXES, Recognised, videos_in
from dyn3d_ns.io.recordings.base import Calibration, FrameReader, RecordedCamera, Recording
from dyn3d_ns.io.recordings.camera_folders import CameraFolders
from dyn3d_ns.io.recordings.layout import Layout
from dyn3d_ns.io.recordings.moment_folders import ColmapMoments, StreamRFFolders
from dyn3d_ns.io.recordings.videos import VideoLayout
from dyn3d_ns.io.shell import shell_word

DEFAULT_FPS = 30.0
"""Frames per second where the files do not say: that of all published recordings."""
_LAYOUTS: tuple[Callable[[Path], Layout | None], ...] = (
    VideoLayout.find,
    StreamRFFolders.find,
    ColmapMoments.find,
    CameraFolders.find,
)


class NoRecordingError(DatasetError):
    """What was given is no recording of several cameras."""


class UnknownLayoutError(NoRecordingError):
    """A folder is in none of the layouts of recordings; it may be another dataset."""


def recognise_recording(path: Path) -> Recognised | None:
    """Tell whether a folder is a recording; None if it is none."""
    layout = _find(path)
    if layout is None:
        return None
    poses = layout.poses_file
    facts = {"cameras": str(len(layout.names)), "names": f"{layout.names[0]} to {layout.names[-1]}"}
    if layout.length():
        facts["frames"] = layout.length()
    there = poses.exists()
    name = poses.relative_to(path).as_posix()
    facts["poses"] = name if there else "none"
    use = [
        f"ns-train dyn3d-stream-splat --data {shell_word(path)} n3dv-data  # on an NVIDIA GPU",
        f"ns-train dyn3d-stream-splat-fast --data {shell_word(path)} n3dv-data  # on a CPU",
    ]
    return Recognised(layout.title, facts, [] if there else [name], use if there else [])


def open_recording(
    root: Path, drop: Sequence[str] = (), fps: float | None = None, planned: int | None = None
) -> Recording:
    """Open a recording.

    Args:
        root: Its folder.
        drop: Names of cameras to leave out.
        fps: Frames per second, to overrule what the files say.
        planned: Frames that there will be, of a recording that is still being made; None of one that is over.

    Raises:
        DatasetError: it is in none of the layouts, its cameras do not fit together, or files are missing or
            damaged.
    """
    layout = _layout_of(root)
    calibrations = layout.calibrations(drop)
    kept = [name for name in layout.names if name not in drop]
    _require_two(root, layout.names, kept)
    readers = {name: layout.reader(name, planned) for name in kept}
    size = _common_size(readers)
    cameras = tuple(RecordedCamera(n, _sized(n, calibrations[n], size), readers[n]) for n in kept)
    count, notes = _common_length(cameras)
    notes += (*layout.notes, *_notes_of(readers))
    rate = _common_rate(cameras, count) if fps is None else fps
    return Recording(
        root, layout.title, cameras, size, rate, count, planned is not None, layout.points(), notes
    )


def _layout_of(root: Path) -> Layout:
    if root.is_file() and root.suffix.lower() in VIDEO_SUFFIXES:
        raise NoRecordingError(
            f"{root} is a single video; a recording is a folder with the videos of two cameras or more. For "
            f"a single one: `dyn3d process {shell_word(root)} OUT`"
        )
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise MissingFileError(f"{root} {what}; give the folder of a recording")
    layout = _find(root)
    if layout is not None:
        return layout
    videos = videos_in(root)
    if len(videos) == 1:
        raise NoRecordingError(
            f"{root} has one camera ({videos[0].name}); a recording needs the videos of two or more. For a "
            f"single video: `dyn3d process {shell_word(videos[0])} OUT`"
        )
    raise UnknownLayoutError(
        f"{root} is no recording: expected camNN.mp4 or camNN/images/ beside poses_bounds.npy, "
        "frames/0000/images/ or frame000001/"
    )


def _require_two(root: Path, names: Sequence[str], kept: Sequence[str]) -> None:
    """Check that a camera is left beside the one that is held out."""
    if len(kept) > 1:
        return
    if len(names) < 2:
        raise NoRecordingError(f"{root} has one camera ({names[0]}); a recording needs two or more")
    left = f"only {kept[0]}" if kept else "none"
    raise DatasetError(
        f"--drop-cameras leaves {left} of the {len(names)} cameras of {root}; two are needed: one to train "
        "on, one to evaluate on"
    )


def _find(root: Path) -> Layout | None:
    return next((found for find in _LAYOUTS if (found := find(root)) is not None), None)


def _notes_of(readers: dict[str, FrameReader]) -> list[str]:
    """Return what is odd about the cameras' pictures, said once for all that have it."""
    names: dict[str, list[str]] = defaultdict(list)
    for reader in readers.values():
        for note in reader.notes:
            names[note].append(reader.source.name)
    return [
        f"{found[0]}{f' (and {len(found) - 1} others)' if len(found) > 1 else ''} {note}"
        for note, found in names.items()
    ]


def _common_size(readers: dict) -> tuple[int, int]:
    first_name, first = next(iter(readers.items()))
    for name, reader in readers.items():
        if reader.size != first.size:
            raise ImageSizeError(
                f"{reader.source} is {reader.size[0]}x{reader.size[1]}, {first_name} is "
                f"{first.size[0]}x{first.size[1]}; the cameras of a recording share one size: bring them "
                f"to it, or use --drop-cameras {name}"
            )
    return first.size


def _sized(name: str, found: Calibration, size: tuple[int, int]) -> Calibration:
    """Bring a calibration to the size of the frames, which may have been shrunk since."""
    x, y = size[0] / found.size[0], size[1] / found.size[1]
    if abs(x * found.size[1] - size[1]) > 1 and abs(y * found.size[0] - size[0]) > 1:
        raise ImageSizeError(
            f"{name} is calibrated for {found.size[0]}x{found.size[1]}, its frames are {size[0]}x{size[1]}: "
            "that is another proportion of the sides; give frames that are not cropped"
        )
    return replace(found, K=scale_intrinsics(found.K, x, y), size=size)


def _common_length(cameras: Sequence[RecordedCamera]) -> tuple[int, tuple[str, ...]]:
    lengths = {camera.name: camera.frames.num_frames for camera in cameras}
    least, most = min(lengths.values()), max(lengths.values())
    if least == most:
        return least, ()
    short = [name for name, length in lengths.items() if length < most]
    return least, (
        f"cameras have {least} to {most} frames ({', '.join(short)} fewer than the others): the first "
        f"{least} are used, as if all began together",
    )


def _common_rate(cameras: Sequence[RecordedCamera], count: int) -> float:
    rates = {camera.name: camera.frames.fps for camera in cameras if camera.frames.fps}
    if not rates:
        return DEFAULT_FPS
    first_name, first = next(iter(rates.items()))
    for name, rate in rates.items():
        if abs(rate / first - 1) * count > 0.5:
            raise DatasetError(
                f"{name} has {rate:.4g} frames a second, {first_name} {first:.4g}: after {count} frames they "
                f"are apart by more than half a frame; convert it, use --drop-cameras {name}, or --fps if "
                "the file is wrong"
            )
    return first
