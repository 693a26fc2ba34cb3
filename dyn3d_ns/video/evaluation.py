"""Compare a processed clip with ground truth in Sintel's layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError, MissingFileError
from dyn3d_ns.io.ground_truth import SintelTruth
from dyn3d_ns.metrics.depth import Alignment, DepthErrors
from dyn3d_ns.metrics.flow import FlowErrors
from dyn3d_ns.metrics.masks import contour_accuracy, id_stability, mask_scores, region_similarity
from dyn3d_ns.metrics.trajectory import focal_error_percent, trajectory_errors


def evaluate(workspace: Workspace, truth: SintelTruth) -> dict[str, Any]:
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


def _source_frames(workspace: Workspace, truth: SintelTruth) -> list[int]:
    frames = list(workspace.clip().source_frames)
    longest = max(len(files) for files in truth.files.values())
    if max(frames) >= longest:
        raise DatasetError(
            f"the clip holds frame {max(frames)} of its source, but {truth.sequence} has {longest} frames; "
            "is it the same sequence?"
        )
    return frames


def _cameras(workspace: Workspace, truth: SintelTruth, frames: list[int]) -> dict[str, Any]:
    import torch

    cameras = workspace.cameras()
    Ks, poses = (torch.from_numpy(value[frames]) for value in truth.cameras())
    errors = trajectory_errors(torch.from_numpy(cameras.camera_to_worlds), poses)
    height, width = workspace.image(0).shape[:2]
    true_height, true_width = truth.size
    Ks = Ks.clone()
    Ks[:, 0] *= width / true_width
    Ks[:, 1] *= height / true_height
    return {**errors, "focal_error_percent": focal_error_percent(torch.from_numpy(cameras.Ks), Ks)}


def _flow(workspace: Workspace, truth: SintelTruth, frames: list[int]) -> dict[str, Any]:
    errors = FlowErrors()
    for i, frame in enumerate(frames[:-1]):
        if frames[i + 1] != frame + 1 or frame >= len(truth.files["flow"]):
            continue
        true = truth.flow(frame)
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


def _masks(workspace: Workspace, truth: SintelTruth, frames: list[int]) -> dict[str, Any]:
    j, f = [], []
    found: list[Int32[np.ndarray, "H W"]] = []
    wanted: list[Int32[np.ndarray, "H W"]] = []
    for i, frame in enumerate(frames):
        true = truth.moving(frame)
        labels = _nearest(workspace.labels(i), true.shape)
        j.append(region_similarity(labels > 0, true))
        f.append(contour_accuracy(labels > 0, true))
        if truth.annotations:
            wanted.append(truth.instances(frame))
            found.append(_nearest(labels, wanted[-1].shape))
    return {
        **mask_scores(j, f),
        "id_stability": id_stability(found, wanted) if wanted else None,
        "j_per_frame": j,
    }


def _depth(workspace: Workspace, truth: SintelTruth, frames: list[int]) -> dict[str, Any]:
    """Compare depth; where it is known what moves, the static pixels give the alignment."""
    has_moving = "dynamic_label_perfect" in truth.files
    results: dict[str, Any] = {}
    alignments: tuple[Alignment, ...] = ("scale", "disparity")
    for alignment in alignments:
        errors = DepthErrors(alignment)
        for step in ("collect", "add"):
            for i, frame in enumerate(frames):
                true = truth.depth(frame)
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
