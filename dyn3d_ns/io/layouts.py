"""Recognise what a folder or file is: a dataset in one of the published layouts, a clip, a training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.clip.paths import STAGES
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frames import assemble_scene
from dyn3d_ns.io.transforms_json import find_transforms, read_transforms

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_SINTEL_TRUTH = ("camdata_left", "depth", "flow", "occlusions", "dynamic_label_perfect")


@dataclass
class Description:
    """What something on disk is, and what can be done with it."""

    layout: str
    facts: dict[str, str] = field(default_factory=dict)
    """Names and values, in the order in which to show them."""
    missing: list[str] = field(default_factory=list)
    """What the layout would hold and is not there."""
    use: list[str] = field(default_factory=list)
    """Commands that take it."""


def describe(path: Path) -> Description:
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
    return Description(
        "unknown",
        {"entries": ", ".join(sorted(p.name for p in path.iterdir())[:12]) or "none"},
        use=[f"dyn3d info {p}" for p in _inner_folders(path)],
    )


def _file(path: Path) -> Description:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _video(path)
    if path.name == "config.yml":
        return _training_of(path)
    if suffix == ".npz" and "fused_4d" in path.name:
        return Description("fused 4-D scene", use=[f"dyn3d view {path.parent}"])
    return Description("unknown file", {"size": f"{path.stat().st_size} bytes"})


def _video(path: Path) -> Description:
    import av
    import av.error as av_error

    facts = {"size": f"{path.stat().st_size / 2**20:.1f} MB"}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            facts["image size"] = f"{stream.width}x{stream.height}"
            facts["frames"] = str(stream.frames or "not stated")
            facts["frames per second"] = f"{float(stream.average_rate or 0):.4g}"
    except (av_error.FFmpegError, ValueError, IndexError) as error:
        return Description("video that cannot be read", facts, [f"a readable video stream ({error})"])
    return Description("video", facts, use=[f"dyn3d process {path} OUT"])


def _training(path: Path) -> Description | None:
    return _training_of(path / "config.yml") if (path / "config.yml").is_file() else None


def _training_of(config: Path) -> Description:
    steps = sorted(p.name for p in (config.parent / "nerfstudio_models").glob("step-*.ckpt"))
    missing = [] if steps else ["checkpoints (nerfstudio_models/step-*.ckpt)"]
    facts = {"method": config.parent.parent.name, "last checkpoint": steps[-1] if steps else "none"}
    return Description("training", facts, missing, [f"ns-viewer --load-config {config}"])


def _processed(path: Path) -> Description | None:
    """A clip's folder as `dyn3d process` or DynamicVerse leave it."""
    frames = images_in(path / "rgb")
    done = [name for name, pattern in STAGES.items() if any(path.glob(pattern))]
    if not frames or not set(done) - {"frames"}:
        return None
    facts = {"frames": str(len(frames)), "image size": _size(frames[0]), "stages done": ", ".join(done)}
    if (path / "clip.json").is_file():
        clip = _json(path / "clip.json")
        times = clip.get("times") or [0.0]
        facts["source"] = str(clip.get("source", ""))
        facts["length"] = f"{times[-1]:.2f} s at {clip.get('fps', 0):.3g} fps"
    if ClipFolder(path).instance_labels_path.is_file():
        facts["objects"] = ", ".join(ClipFolder(path).instance_names.values()) or "none"
    missing = [f"stage {name}" for name in STAGES if name not in done]
    posed = "cameras" in done or "adjust" in done
    use = [f"ns-train dyn3d-velocity-fast dynamicverse-data --data {path}"] if posed else []
    use += [f"dyn3d view {path}"] if "fuse" in done else []
    return Description("processed clip (DynamicVerse)", facts, missing, use)


def _transforms(path: Path) -> Description | None:
    """D-NeRF, NVFi's Dynamic Object and Indoor Scene, and Nerfstudio's own transforms.json."""
    try:
        found = find_transforms(path)
    except DatasetError:
        return None
    names = ", ".join(p.relative_to(path).as_posix() for _, p in found)
    command = f"ns-train dyn3d-velocity-fast --data {path}"
    try:
        files = [read_transforms(p, path, label) for label, p in found]
        scene, timeline = assemble_scene(files)
    except DatasetError as error:
        facts = {"files": names, "frames": str(sum(_count_frames(p) for _, p in found))}
        return Description("transforms.json", facts, [str(error)], [command])
    splits = {split: scene.splits.count(split) for split in ("train", "interp", "future")}
    width, height = scene.intrinsics[0, 4:].astype(int)
    points = [name for name in ("points3d.ply", "points3D.ply", "sparse_pc.ply") if (path / name).is_file()]
    facts = {
        "files": names,
        "images": str(len(scene.images)),
        "image size": f"{width}x{height}",
        "cameras": str(len(set(scene.camera_ids.tolist()))),
        "times": f"{timeline.num_frames}, {timeline.frame_times[0]:.3g} to {timeline.frame_times[-1]:.3g}",
        "last observed time": f"{timeline.t_obs:.3g}",
        "splits": ", ".join(f"{name} {count}" for name, count in splits.items()),
        "points": ", ".join(points) or "none",
    }
    return Description("Dynamic Object / D-NeRF (transforms files)", facts, use=[command])


def _sintel(path: Path) -> Description | None:
    root = path / "training" if (path / "training").is_dir() else path
    passes = [name for name in ("final", "clean") if (root / name).is_dir()]
    if not passes:
        return None
    scenes = sorted(p.name for p in (root / passes[0]).iterdir() if p.is_dir())
    truth = [name for name in _SINTEL_TRUTH if (root / name).is_dir()]
    frames = {name: len(images_in(root / passes[0] / name)) for name in scenes}
    if (path / "JPEGImages").is_dir():
        truth.append("DAVIS annotations beside it")
    facts = {
        "passes": ", ".join(passes),
        "sequences": ", ".join(f"{name} ({count} frames)" for name, count in frames.items()),
        "ground truth": ", ".join(truth) or "none",
    }
    missing = [n for n in ("camdata_left", "depth", "flow") if n not in truth]
    return Description(
        "Sintel", facts, missing, [f"dyn3d process {root / passes[0] / s} OUT" for s in scenes[:3]]
    )


def _davis(path: Path) -> Description | None:
    if not (path / "JPEGImages").is_dir():
        return None
    folders = sorted(p for p in (path / "JPEGImages").glob("*/*") if p.is_dir())
    sequences = [f"{p.name} ({len(images_in(p))} frames)" for p in folders]
    facts = {"sequences": ", ".join(sequences) or "none"}
    missing = [] if (path / "Annotations").is_dir() else ["Annotations"]
    return Description("DAVIS", facts, missing, [f"dyn3d process {p} OUT" for p in folders[:3]])


def _multi_video(path: Path) -> Description | None:
    videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if len(videos) < 2:
        return None
    poses = (path / "poses_bounds.npy").is_file()
    if not poses and not all(re.fullmatch(r"cam\D?\d+", p.stem) for p in videos):
        use = [f"dyn3d process {p} OUT" for p in videos[:5]]
        return Description("folder of videos", {"videos": ", ".join(p.name for p in videos)}, use=use)
    facts = {"cameras": str(len(videos)), "poses": "poses_bounds.npy" if poses else "none"}
    return Description("N3DV (one video a camera)", facts, [] if poses else ["poses_bounds.npy"])


def _llff(path: Path) -> Description | None:
    if not (path / "poses_bounds.npy").is_file():
        return None
    folders = sorted(p for p in path.glob("*") if images_in(p))
    facts = {"images": ", ".join(f"{p.name} ({len(images_in(p))})" for p in folders) or "none"}
    extras = [name for name in ("disp", "flow", "motion_masks", "background_mask") if (path / name).is_dir()]
    facts["side files"] = ", ".join(extras) or "none"
    missing = [name for name in ("flow", "motion_masks") if name not in extras]
    return Description("Dynamic Scene (LLFF poses)", facts, missing)


def _colmap(path: Path) -> Description | None:
    places = [path / name for name in ("sparse/0", "colmap/sparse/0", "sparse")]
    model = next((place for place in places if place.is_dir()), None)
    if model is None:
        return None
    wanted = ("cameras", "images", "points3D")
    missing = [n for n in wanted if not any((model / f"{n}{s}").is_file() for s in (".bin", ".txt"))]
    folders = [p for p in sorted(path.glob("images*")) if p.is_dir()]
    counts = ", ".join(f"{p.name} ({len(images_in(p))})" for p in folders)
    facts = {"model": str(model), "images": counts or "none"}
    return Description("COLMAP (no times)", facts, missing, [f"ns-train splatfacto colmap --data {path}"])


def _frames(path: Path) -> Description | None:
    for folder in (path, path / "rgb"):
        images = images_in(folder)
        if images:
            facts = {"frames": str(len(images)), "first": images[0].name, "image size": _size(images[0])}
            return Description("folder of images", facts, use=[f"dyn3d process {folder} OUT"])
    return None


_FOLDERS: tuple[Callable[[Path], Description | None], ...] = (
    _training,
    _processed,
    _sintel,
    _davis,
    _transforms,
    _multi_video,
    _llff,
    _colmap,
    _frames,
)


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder in order; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _inner_folders(path: Path) -> list[Path]:
    """List folders inside that are recognised."""
    inner = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))[:20]
    return [p for p in inner if any(recognise(p) is not None for recognise in _FOLDERS)][:5]


def _size(image: Path) -> str:
    from PIL import Image

    try:
        with Image.open(image) as file:
            return f"{file.size[0]}x{file.size[1]}"
    except OSError:
        return f"unknown ({image.name} cannot be read)"


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _count_frames(path: Path) -> int:
    frames = _json(path).get("frames")
    return len(frames) if isinstance(frames, list) else 0
