"""Depth from the user's files or from a network, brought to the scale of the cameras."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dyn3d_ns.io.arrays import Npz, load_npy, read_png
from dyn3d_ns.io.camera_file import proportion_fits
from dyn3d_ns.io.damage import ARRAY_ERRORS, numbers
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.frame_matching import ClipFrames, Labels, match_frames
from dyn3d_ns.io.recognised import files_in, natural_order
from dyn3d_ns.io.resampling import nearest_to
from dyn3d_ns.video.depth.matching import IDENTITY, DepthMatch, Model, best_match, fit_match
from dyn3d_ns.video.parts import Configured

_SUFFIXES = (".npy", ".npz", ".png", ".dpt")
_NAMES = ("depth", "depths", "depth_maps")
"""What the depth is called in an archive that holds other arrays too, such as MegaSaM's."""


class DepthFiles:
    """Depth maps of a clip from one array file, or from a folder with a file a frame."""

    def __init__(self, path: Path, frames: ClipFrames, png_scale: float = 1000.0) -> None:
        """Open the files and match them to the frames, by their names or by the maps' places in an array.

        Raises:
            StageError: there is nothing of the kind.
            DatasetError: not every frame has a map, or it is not known which.
        """
        if not png_scale > 0:
            raise StageError(f"--depth.png-scale must be positive, got {png_scale}")
        self.path, self._scale = path, png_scale
        self._array: np.ndarray | None = None
        left_out = ""
        self._files: list[Path] = []
        if path.is_dir():
            self._files, left_out = depth_series(path)
            if not self._files:
                raise StageError(
                    f"--depth.files {path} holds no depth ({', '.join(_SUFFIXES)}); write it as one"
                )
            labels = Labels(len(self._files), tuple(file.name for file in self._files))
        elif path.is_file():
            self._array = _stack(path)
            labels = Labels(len(self._array))
        else:
            raise StageError(f"--depth.files {path} does not exist")
        match = match_frames(frames, labels, f"--depth.files {path}", "depth maps")
        if not match.complete:
            raise StageError(f"--depth.files {path}: {match.note}; give one for each")
        self._rows = match.rows.tolist()
        # A stack of as many maps as frames has them in the frames' order, as everybody expects.
        ordered = self._array is not None and len(self._array) == len(frames)
        self.note = "; ".join(text for text in (left_out, "" if ordered else match.note) if text)
        """What was left out, and how maps were matched, where names do not say it."""

    def __getitem__(self, frame: int) -> Float32[np.ndarray, "H W"]:
        """Return the depth of a frame as the file has it; 0 where it is not finite or not positive."""
        row = self._rows[frame]
        if self._array is not None:
            depth = np.array(self._array[row], dtype=np.float32)
        else:
            depth = _read_one(self._files[row], self._scale)
        depth = np.squeeze(depth)
        if depth.ndim != 2:
            raise StageError(f"{self.path}: depth of frame {frame} has the shape {depth.shape}, not (H, W)")
        return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _stack(path: Path) -> np.ndarray:
    """Open (F,H,W), (F,1,H,W) or (F,H,W,1) without reading it whole where the format allows."""
    try:
        if path.suffix.lower() == ".npy":
            stack = load_npy(path, "r")
        elif path.suffix.lower() == ".npz":
            with Npz(path) as content:
                stack = content[_depth_name(path, list(content))]
        else:
            raise StageError(f"--depth.files {path}: expected .npy, .npz or a folder")
    except StageError:
        raise
    except ARRAY_ERRORS as error:
        raise StageError(f"--depth.files {path} is not a readable array ({error})") from error
    numbers(stack, path)
    if stack.ndim not in (3, 4):
        raise StageError(f"--depth.files {path} has the shape {stack.shape}; expected (F,H,W) or (F,1,H,W)")
    return stack


def depth_series(folder: Path) -> tuple[list[Path], str]:
    """List the depth maps of a folder in natural order, and tell what else lies there.

    Of several series (names that differ by numbers alone) that which is called depth is taken; in a folder
    of DAS3R's or MonST3R's that is `frame_0000.npy`.

    Raises:
        StageError: it is not plain which one is meant.
    """
    series: dict[str, list[Path]] = {}
    for path in files_in(folder, _SUFFIXES):
        series.setdefault(re.sub(r"\d+", "#", path.name.lower()), []).append(path)
    if len(series) < 2:
        return next(iter(series.values()), []), ""
    named = [name for name in series if "depth" in name]
    if (folder / "pred_traj.txt").is_file() and "frame_#.npy" in series:
        named = ["frame_#.npy"]
    shown = {name: f"{files[0].name} … ({len(files)})" for name, files in series.items()}
    if len(named) == 1:
        left = ", ".join(text for name, text in shown.items() if name != named[0])
        return series[named[0]], f"{shown[named[0]]} are taken for depth, left out: {left}"
    if max(len(files) for files in series.values()) == 1:
        # Names that follow no pattern are one series.
        return sorted((files[0] for files in series.values()), key=natural_order), ""
    raise StageError(
        f"--depth.files {folder} holds several series: {', '.join(shown.values())}; put the depth into a "
        "folder of its own, or call it depth"
    )


def _depth_name(path: Path, names: list[str]) -> str:
    """Return which array of an .npz is the depth: one of the usual names, or the only one."""
    known = [name for name in _NAMES if name in names]
    if not known and len(names) != 1:
        held = ", ".join(names) or "nothing"
        raise StageError(f"{path} holds {held}; the depth must be called {' or '.join(_NAMES)}")
    return known[0] if known else names[0]


def _read_one(path: Path, scale: float) -> Float32[np.ndarray, "H W"]:
    from dyn3d_ns.io.ground_truth import read_dpt

    if path.suffix.lower() == ".dpt":
        return read_dpt(path)
    if path.suffix.lower() == ".png":
        image = read_png(path, None)
        if image.dtype not in (np.uint16, np.int32):
            raise StageError(f"{path} has {image.dtype} pixels; a depth map as PNG has 16 bits")
        return (image / scale).astype(np.float32)
    try:
        if path.suffix.lower() == ".npz":
            with Npz(path) as content:
                values = content[_depth_name(path, list(content))]
        else:
            values = load_npy(path)
    except StageError:
        raise
    except ARRAY_ERRORS as error:
        raise StageError(f"{path} is not a readable array ({error})") from error
    return numbers(values, path).astype(np.float32)


class HuggingFaceDepth(Configured):
    """A depth model of the transformers library from a local folder; nothing is downloaded."""

    def __init__(self, model: Path, device: str = "cpu") -> None:
        """Load it.

        Raises:
            StageError: transformers is not installed, or the folder holds no depth model.
        """
        try:
            from transformers import (  # pyright: ignore[reportMissingImports]
                AutoImageProcessor,
                AutoModelForDepthEstimation,
            )
        except ImportError as error:
            raise StageError(
                f"a Hugging Face depth model needs transformers ({error}): pip install dyn3d-ns[nets]"
            ) from error
        if not model.is_dir():
            raise StageError(f"--depth.model {model} is not a folder; give one with config.json and weights")
        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(str(model), local_files_only=True)
            self._model: Any = AutoModelForDepthEstimation.from_pretrained(str(model), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise StageError(f"--depth.model {model} cannot be loaded: {error}") from error
        self._device = device
        self._model = self._model.to(device).eval()

    @classmethod
    def from_settings(cls, settings: Any) -> HuggingFaceDepth:
        """Build it from the settings of the stage `depth`."""
        if settings.model is None:
            raise StageError("--depth.method huggingface needs --depth.model, the folder of a model")
        return cls(settings.model, settings.device)

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], K: Float64[np.ndarray, "3 3"] | None
    ) -> Float32[np.ndarray, "H W"]:
        """Return what the network answers (depth, or inverse depth) at the size of the image."""
        import torch

        inputs = self._processor(images=image, return_tensors="pt").to(self._device)
        with torch.no_grad():
            answer = self._model(**inputs).predicted_depth
        if answer.ndim == 3:
            answer = answer[:, None]
        sized = torch.nn.functional.interpolate(answer, image.shape[:2], mode="bicubic", align_corners=False)
        return sized[0, 0].float().cpu().numpy()


def sized_map(
    depth: Float32[np.ndarray, "h w"], size: tuple[int, int], what: str
) -> Float32[np.ndarray, "H W"]:
    """Bring depth to the frames' width and height by the nearest pixel; no value is mixed with others.

    Raises:
        StageError: it has another proportion of the sides.
    """
    height, width = depth.shape
    if not proportion_fits((width, height), size):
        raise StageError(
            f"{what} is {width}x{height}, the frames {size[0]}x{size[1]}: that is another proportion of the "
            "sides; crop it as the frames are"
        )
    return nearest_to(depth, size)


def match_to_cameras(
    maps: Callable[[int], Float32[np.ndarray, "H W"]],
    truth: Sequence[tuple[int, Float64[np.ndarray, "M 2"], Float64[np.ndarray, "M"]]],
    model: str,
) -> DepthMatch:
    """Fit one map for the whole clip from given depth to the planar z of located points.

    Args:
        maps: depth of a frame as given.
        truth: frames, with pixels and planar z of points that they see.
        model: `auto` or one of the models of :mod:`~dyn3d_ns.video.depth.matching`.
    """
    given, true = [], []
    for frame, pixels, depth in truth:
        here = maps(frame)
        columns = np.clip(np.rint(pixels[:, 0]).astype(int), 0, here.shape[1] - 1)
        rows = np.clip(np.rint(pixels[:, 1]).astype(int), 0, here.shape[0] - 1)
        given.append(here[rows, columns].astype(np.float64))
        true.append(depth)
    if model == "none" or not given:
        return IDENTITY
    pair = np.concatenate(given), np.concatenate(true)
    models: dict[str, Model] = {"scale": "scale", "disparity": "disparity", "inverse": "inverse"}
    if model != "auto" and model not in models:
        raise StageError(f"--depth.match must be auto, none, {', '.join(models)}; got {model!r}")
    try:
        return best_match(*pair) if model == "auto" else fit_match(*pair, models[model])
    except ValueError as error:
        raise StageError(f"the given depth cannot be brought to the cameras' scale: {error}") from error
