"""Recognise what a folder or file is: a dataset in one of the published layouts, a clip, a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dyn3d_ns.io.clip.folder import recognise_clip
from dyn3d_ns.io.colmap_models import recognise_colmap
from dyn3d_ns.io.colors import colors_of
from dyn3d_ns.io.dynamic_scene.recognise import recognise_dynamic_scene, recognise_poses_bounds
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frames import recognise_transforms
from dyn3d_ns.io.recognised import VIDEO_SUFFIXES, Recognised, image_size, videos_in
from dyn3d_ns.io.recordings.opening import recognise_recording
from dyn3d_ns.io.sequences import recognise_davis, recognise_sintel
from dyn3d_ns.io.series import picture_series
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.io.stream.header import HEADER_NAME
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.video_stream import picture_stream, stated_frames

UNKNOWN = "unknown"
"""Layout of a folder that is nothing that is known."""


def describe(path: Path) -> Recognised:
    """Tell what a file or folder is.

    Raises:
        DatasetError: there is nothing at that path.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist")
    if path.is_file():
        return _file(path)
    for recognise in _FOLDERS:
        found = recognise(path)
        if found is not None:
            return found
    return Recognised(
        UNKNOWN,
        {"entries": ", ".join(sorted(p.name for p in path.iterdir())[:12]) or "none"},
        use=[f"dyn3d info {shell_word(p)}" for p in _inner_folders(path)],
    )


def _file(path: Path) -> Recognised:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _video(path)
    if path.name == "config.yml":
        return _training_of(path)
    if suffix == ".npz" and "fused_4d" in path.name:
        return Recognised("fused 4-D scene", use=[f"dyn3d view {shell_word(path.parent)}"])
    return Recognised("unknown file", {"size": f"{path.stat().st_size} bytes"})


def _video(path: Path) -> Recognised:
    import av
    import av.error as av_error

    facts = {"size": f"{path.stat().st_size / 2**20:.1f} MB"}
    try:
        with av.open(str(path)) as container:
            stream, note = picture_stream(container)
            if stream is None:
                return Recognised("video that cannot be read", facts, ["a video stream"])
            facts["image size"] = f"{stream.width}x{stream.height}"
            facts["frames"] = str(stated_frames(stream) or "not stated")
            facts["frames per second"] = f"{float(stream.average_rate or 0):.4g}"
            if note is not None:
                facts["tracks"] = note
            colors = colors_of(stream.codec_context)
            if colors is not None:
                facts["colours"] = f"{colors.name}, converted to BT.709 when it is read"
    except (av_error.FFmpegError, ValueError, IndexError) as error:
        return Recognised("video that cannot be read", facts, [f"a readable video stream ({error})"])
    return Recognised("video", facts, use=[f"dyn3d process {shell_word(path)} OUT"])


def _training(path: Path) -> Recognised | None:
    return _training_of(path / "config.yml") if (path / "config.yml").is_file() else None


def _stream(path: Path) -> Recognised | None:
    if not (path / HEADER_NAME).is_file():
        return None
    reader = StreamReader(path)
    planned = reader.header.planned_frames
    facts = {"frames": f"{reader.num_frames()} of {planned}", "fps": f"{reader.header.fps:g}"}
    gap = reader.gap()
    use = [f"dyn3d stream info {shell_word(path)}"]
    return Recognised(f"stream ({reader.header.kind})", facts, [gap] if gap else [], use)


def _training_of(config: Path) -> Recognised:
    steps = sorted(p.name for p in (config.parent / "nerfstudio_models").glob("step-*.ckpt"))
    missing = [] if steps else ["checkpoints (nerfstudio_models/step-*.ckpt)"]
    facts = {"method": config.parent.parent.name, "last checkpoint": steps[-1] if steps else "none"}
    return Recognised("training", facts, missing, [f"ns-viewer --load-config {shell_word(config)}"])


def _multi_video(path: Path) -> Recognised | None:
    videos = videos_in(path)
    if len(videos) < 2:
        return None
    use = [f"dyn3d process {shell_word(p)} OUT" for p in videos[:5]]
    return Recognised("folder of videos", {"videos": ", ".join(p.name for p in videos)}, use=use)


def _frames(path: Path) -> Recognised | None:
    for folder in (path, path / "rgb"):
        try:
            images, note = picture_series(folder)
        except DatasetError as error:
            return Recognised("folder of images", {"frames": str(error)})
        if images:
            facts = {"frames": str(len(images)), "first": images[0].name, "image size": image_size(images[0])}
            if note is not None:
                facts["left out"] = note
            return Recognised("folder of images", facts, use=[f"dyn3d process {shell_word(folder)} OUT"])
    return None


_FOLDERS: tuple[Callable[[Path], Recognised | None], ...] = (
    _training,
    _stream,
    recognise_clip,
    recognise_sintel,
    recognise_davis,
    recognise_dynamic_scene,
    recognise_transforms,
    recognise_recording,
    _multi_video,
    recognise_poses_bounds,
    recognise_colmap,
    _frames,
)


def _inner_folders(path: Path) -> list[Path]:
    """List folders inside that are recognised."""
    inner = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))[:20]
    return [p for p in inner if any(recognise(p) is not None for recognise in _FOLDERS)][:5]
