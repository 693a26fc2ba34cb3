"""Compare a processed clip with ground truth in Sintel's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from dyn3d_ns.io.arrays import read_png
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError, MissingFileError
from dyn3d_ns.io.flow_files import read_flo
from dyn3d_ns.io.sintel import read_cam, read_dpt
from dyn3d_ns.metrics.depth import Alignment, DepthErrors
from dyn3d_ns.metrics.flow import FlowErrors
from dyn3d_ns.metrics.masks import contour_accuracy, id_stability, region_similarity
from dyn3d_ns.metrics.trajectory import focal_error_percent, trajectory_errors

_KINDS = {
    "camdata_left": ".cam",
    "depth": ".dpt",
    "flow": ".flo",
    "occlusions": ".png",
    "dynamic_label_perfect": ".png",
}


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of one sequence: a folder a kind, a file a frame."""

    root: Path
    """Folder that holds `camdata_left/`, `depth/`, `flow/`, `occlusions/`, `dynamic_label_perfect/`."""
    sequence: str
    files: dict[str, list[Path]]
    """Sorted files of each kind that there is."""
    annotations: list[Path]
    """Instance ids of each frame in DAVIS's layout beside it, if any."""

    @classmethod
    def open(cls, folder: Path, sequence: str | None = None) -> GroundTruth:
        """Find the files of a sequence.

        Raises:
            MissingFileError: there is no ground truth, or it is not clear which sequence is meant.
        """
        root = folder / "training" if (folder / "training").is_dir() else folder
        present = [kind for kind in _KINDS if (root / kind).is_dir()]
        names = sorted({p.name for kind in present for p in (root / kind).iterdir() if p.is_dir()})
        if not names:
            raise MissingFileError(
                f"{folder} holds no ground truth: expected {', '.join(_KINDS)} in it or in its training/, "
                "each with a folder a sequence"
            )
        if sequence is None and len(names) == 1:
            sequence = names[0]
        if sequence is None or sequence not in names:
            asked = f"no sequence {sequence!r}" if sequence else "several sequences"
            raise MissingFileError(f"{root} holds {asked}; give one with --sequence: {', '.join(names)}")
        files = {}
        for kind in present:
            found = sorted((root / kind / sequence).glob(f"*{_KINDS[kind]}"))
            if found:
                files[kind] = found
        return cls(root, sequence, files, _davis(folder, sequence))

    def cameras(self) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 4 4"]]:
        """Read intrinsics and camera-to-world poses."""
        pairs = [read_cam(path) for path in self.files["camdata_left"]]
        views = np.tile(np.eye(4), (len(pairs), 1, 1))
        views[:, :3] = [view for _, view in pairs]
        return np.stack([K for K, _ in pairs]), np.linalg.inv(views)

    def moving(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read where a frame moves."""
        return read_png(self.files["dynamic_label_perfect"][frame], "L") > 127

    def hidden(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read which pixels of a frame are hidden in the next."""
        return read_png(self.files["occlusions"][frame], "L") > 127


def _davis(folder: Path, sequence: str) -> list[Path]:
    """Find instance ids of the sequence; DAVIS names it without Sintel's number."""
    base = folder / "Annotations" / "480p"
    for name in (sequence, sequence.rsplit("_", 1)[0]):
        if (base / name).is_dir():
            return sorted((base / name).glob("*.png"))
    return []


def evaluate(workspace: Workspace, truth: GroundTruth) -> dict[str, Any]:
    """Compare whatever both have: cameras, flow, masks, depth.

    Frames are matched by the numbers that the clip was extracted from. `missing` names what one side lacks.

    Raises:
        DatasetError: the clip has frames that the ground truth lacks, or nothing can be compared.
    """
    frames = _source_frames(workspace, truth)
    results: dict[str, Any] = {"sequence": truth.sequence, "frames": len(frames), "missing": []}
    parts = {
        "cameras": ("camdata_left", _cameras),
        "flow": ("flow", _flow),
        "masks": ("dynamic_label_perfect", _masks),
        "depth": ("depth", _depth),
    }
    for name, (kind, compare) in parts.items():
        if kind not in truth.files:
            results["missing"].append(f"{name} (no {kind}/{truth.sequence} in the ground truth)")
            continue
        try:
            results[name] = compare(workspace, truth, frames)
        except MissingFileError as error:
            results["missing"].append(f"{name} ({error})")
    if not any(name in results for name in parts):
        raise DatasetError("nothing can be compared: " + "; ".join(results["missing"]))
    return results


def _source_frames(workspace: Workspace, truth: GroundTruth) -> list[int]:
    frames = list(workspace.clip().source_frames)
    longest = max(len(files) for files in truth.files.values())
    if max(frames) >= longest:
        raise DatasetError(
            f"the clip holds frame {max(frames)} of its source, but {truth.sequence} has {longest} frames; "
            "is it the same sequence?"
        )
    return frames


def _cameras(workspace: Workspace, truth: GroundTruth, frames: list[int]) -> dict[str, Any]:
    import torch

    cameras = workspace.cameras()
    Ks, poses = (torch.from_numpy(value[frames]) for value in truth.cameras())
    errors = trajectory_errors(torch.from_numpy(cameras.camera_to_worlds), poses)
    height, width = workspace.image(0).shape[:2]
    true_height, true_width = _true_size(truth)
    Ks = Ks.clone()
    Ks[:, 0] *= width / true_width
    Ks[:, 1] *= height / true_height
    return {**errors, "focal_error_percent": focal_error_percent(torch.from_numpy(cameras.Ks), Ks)}


def _true_size(truth: GroundTruth) -> tuple[int, int]:
    """Return height and width of the ground truth's images."""
    if "depth" in truth.files:
        return read_dpt(truth.files["depth"][0]).shape
    if "dynamic_label_perfect" in truth.files:
        height, width = truth.moving(0).shape
        return height, width
    K, _ = read_cam(truth.files["camdata_left"][0])
    return round(2 * K[1, 2] + 1), round(2 * K[0, 2] + 1)


def _flow(workspace: Workspace, truth: GroundTruth, frames: list[int]) -> dict[str, Any]:
    errors = FlowErrors()
    for i, frame in enumerate(frames[:-1]):
        if frames[i + 1] != frame + 1 or frame >= len(truth.files["flow"]):
            continue
        true = read_flo(truth.files["flow"][frame])
        groups = {"all pixels": np.ones(true.shape[:2], bool)}
        if "occlusions" in truth.files:
            groups["not occluded"] = ~truth.hidden(frame)
        if "dynamic_label_perfect" in truth.files:
            groups["moving"] = truth.moving(frame)
        errors.add(_sized_flow(workspace.flow(i, i + 1).flow, true.shape[:2]), true, groups)
    found = errors.summary()
    if not found:
        raise MissingFileError("no two frames of the clip are neighbours in the ground truth")
    return found


def _sized_flow(flow: Float32[np.ndarray, "H W 2"], shape: tuple[int, ...]) -> Float32[np.ndarray, "H2 W2 2"]:
    """Scale flow to another size."""
    import cv2

    if flow.shape[:2] == shape:
        return flow
    scale = np.array([shape[1] / flow.shape[1], shape[0] / flow.shape[0]], np.float32)
    return cv2.resize(flow, (shape[1], shape[0])) * scale


def _masks(workspace: Workspace, truth: GroundTruth, frames: list[int]) -> dict[str, Any]:
    j, f = [], []
    found: list[Int32[np.ndarray, "H W"]] = []
    wanted: list[Int32[np.ndarray, "H W"]] = []
    for i, frame in enumerate(frames):
        true = truth.moving(frame)
        labels = _nearest(workspace.labels(i), true.shape)
        j.append(region_similarity(labels > 0, true))
        f.append(contour_accuracy(labels > 0, true))
        if truth.annotations:
            wanted.append(read_png(truth.annotations[frame], None).astype(np.int32))
            found.append(_nearest(labels, wanted[-1].shape))
    return {
        "j_mean": float(np.mean(j)),
        "f_mean": float(np.mean(f)),
        "id_stability": id_stability(found, wanted) if wanted else None,
        "j_per_frame": j,
    }


def _depth(workspace: Workspace, truth: GroundTruth, frames: list[int]) -> dict[str, Any]:
    """Compare depth; where it is known what moves, the static pixels give the alignment."""
    has_moving = "dynamic_label_perfect" in truth.files
    results: dict[str, Any] = {}
    alignments: tuple[Alignment, ...] = ("scale", "disparity")
    for alignment in alignments:
        errors = DepthErrors(alignment)
        for step in ("collect", "add"):
            for i, frame in enumerate(frames):
                true = read_dpt(truth.files["depth"][frame])
                depth = _nearest(workspace.depth(i), true.shape)
                everything = np.ones(true.shape, bool)
                static = ~truth.moving(frame) if has_moving else everything
                if step == "collect":
                    errors.collect(depth, true, static)
                else:
                    groups = {"static": static, "moving": ~static} if has_moving else {}
                    errors.add(depth, true, {**groups, "all pixels": everything})
            if step == "collect":
                errors.align()
        results[alignment] = errors.summary()
    return results


def _nearest(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring a map to another size without mixing values."""
    import cv2

    if image.shape == shape:
        return image
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
