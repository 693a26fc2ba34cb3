"""Masks as pictures: the colours of objects, and the files of DynamicVerse's segmentation folder."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.atomic import write_bytes, write_json
from dyn3d_ns.io.clip.workspace import Workspace

OVERLAY = 0.6
"""Opacity of an object's colour over the picture."""
_SET3 = "8dd3c7 ffffb3 bebada fb8072 80b1d3 fdb462 b3de69 fccde5 d9d9d9 bc80bd ccebc5 ffed6f"
_KINDS = ("original", "masks", "overlay", "segmented")


def instance_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Return the colours of ids 0 (black) to `count`: the Set3 palette, then hues a golden angle apart."""
    colors = [(0, 0, 0), *(tuple(bytes.fromhex(code)) for code in _SET3.split())]
    for k in range(len(colors), count + 1):
        rgb = colorsys.hsv_to_rgb((k * 0.618034) % 1.0, 0.45, 0.95)
        colors.append(tuple(round(255 * c) for c in rgb))
    return np.array(colors[: count + 1], dtype=np.uint8)


def overlay(
    image: UInt8[np.ndarray, "H W 3"], labels: Int32[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Tint the objects of a picture in their colours."""
    tinted, inside = image.copy(), labels > 0
    tinted[inside] = np.rint((1 - OVERLAY) * image[inside] + OVERLAY * colors[labels[inside]])
    return tinted


class SegmentationWriter:
    """Writes the pictures, videos and lists of `segmentation/` and `qwen/Annotations/`, frame by frame.

    A context manager: the videos appear under their names when it ends without an exception.
    """

    def __init__(self, workspace: Workspace, names: list[str], fps: float, pictures: bool = True) -> None:
        self.workspace = workspace
        self.names = names
        self.fps = fps
        self.pictures = pictures
        self.colors = instance_colors(len(names))
        self._videos: dict[str, _Video] = {}
        self._frames = 0

    def __enter__(self) -> SegmentationWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for video in self._videos.values():
            video.close(keep=kind is None)
        if kind is None:
            self._write_lists()

    def write(self, i: int, image: UInt8[np.ndarray, "H W 3"], labels: Int32[np.ndarray, "H W"]) -> None:
        """Write all files of one frame."""
        self._frames += 1
        folder = self.workspace.segmentation_dir
        painted = self.colors[labels]
        encoded = encode_png(painted)
        write_bytes(folder / "frames" / "masks" / f"frame_{i:05d}.png", encoded)
        write_bytes(self.workspace.annotations_dir / f"frame_{i:05d}.png", encoded)
        if not self.pictures:
            return
        segmented = np.where((labels > 0)[..., None], image, 0).astype(np.uint8)
        shown = (image, painted, overlay(image, labels, self.colors), segmented)
        for kind, picture in zip(_KINDS, shown, strict=True):
            if kind != "masks":
                write_bytes(folder / "frames" / kind / f"frame_{i:05d}.jpg", _jpeg(picture))
            if kind not in self._videos:
                self._videos[kind] = _Video(folder / "videos" / f"{kind}.mp4", self.fps)
            self._videos[kind].add(picture)

    def _write_lists(self) -> None:
        folder = self.workspace.segmentation_dir
        labels = {str(k): name for k, name in enumerate(self.names, 1)}
        write_json(self.workspace.instance_labels_path, labels)
        summary: dict[str, Any] = {
            "total_frames": self._frames,
            "total_instances": len(self.names),
            "instance_labels": labels,
            "video_fps": self.fps,
            "output_structure": {
                "frames": {kind: f"frames/{kind}" for kind in _KINDS if self.pictures or kind == "masks"},
                "videos": {kind: f"videos/{kind}.mp4" for kind in self._videos},
            },
        }
        write_json(folder / "result_summary.json", summary)


class _Video:
    """An mp4 that appears under its name once it is whole."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        # OpenCV picks the container by the suffix.
        self._partial = path.with_name(f".{path.stem}.partial.mp4")
        self._fps = fps
        self._writer: Any = None

    def add(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        import cv2

        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (image.shape[1], image.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), code, self._fps, size)
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))

    def close(self, keep: bool) -> None:
        self._writer.release()
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    import cv2

    bgr = np.ascontiguousarray(image[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
