"""COLMAP's incremental structure from motion on a clip, with what moves masked out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.atomic import write_bytes
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.cameras.adjustment import BundleOptions
from dyn3d_ns.video.cameras.bundle import Bundle
from dyn3d_ns.video.cameras.completion import extend_to_all, forget_worst, median_error
from dyn3d_ns.video.cameras.focal import FocalGuess
from dyn3d_ns.video.cameras.incremental import (
    Reconstruction,
    StaticTracks,
    adjust_reconstruction,
    triangulate_new,
)
from dyn3d_ns.video.cameras.track_mapper import SEED, mapping_options, quiet_colmap
from dyn3d_ns.video.stage import Report

_MIN_REGISTERED = 0.8
"""Part of the frames given to COLMAP that it must register."""
_MAX_FRAMES = 60
"""Frames that COLMAP sees; in longer clips the others are fitted to the points."""
_MAX_FEATURES = 2000


@dataclass(frozen=True)
class ColmapModel:
    """What COLMAP found: poses of some frames, and a focal length."""

    focal: float
    center: tuple[float, float]
    """Principal point with pixel centres at whole numbers."""
    frames: Int[np.ndarray, "K"]
    world_to_cameras: Float64[np.ndarray, "K 3 4"]
    error: float
    """Mean reprojection error in pixels."""


def colmap_reconstruction(
    workspace: Workspace,
    report: Report,
    tracks: StaticTracks,
    guess: FocalGuess | None,
) -> Reconstruction | None:
    """Run COLMAP and locate the clip's own tracks with its cameras.

    Returns None, and tells the report why, where COLMAP fails.
    """
    count = len(tracks.usable)
    frames = np.unique(np.linspace(0, count - 1, min(count, _MAX_FRAMES)).round().astype(int))
    try:
        model = run_colmap(workspace, frames, guess, report)
    except (RuntimeError, ValueError) as error:
        report.note(f"COLMAP stopped with an error ({str(error).splitlines()[0]})")
        model = None
    if model is None:
        report.note("COLMAP could not register enough frames")
        return None
    return locate_tracks(tracks, model.frames, model.world_to_cameras, model.focal)


def locate_tracks(
    tracks: StaticTracks,
    frames: Int[np.ndarray, "K"],
    world_to_cameras: Float64[np.ndarray, "K 3 4"],
    focal: float,
) -> Reconstruction:
    """Place the tracks' points by cameras that are known; other frames are fitted to the points."""
    count_f, count_n = tracks.usable.shape
    rotations, translations = np.tile(np.eye(3), (count_f, 1, 1)), np.zeros((count_f, 3))
    rotations[frames], translations[frames] = world_to_cameras[:, :, :3], world_to_cameras[:, :, 3]
    registered = np.zeros(count_f, bool)
    registered[frames] = True
    bundle = Bundle(rotations, translations, np.zeros((count_n, 3)), focal, tracks.center)
    found = triangulate_new(tracks, Reconstruction(bundle, registered, np.zeros(count_n, bool)))
    if not found.known.any():
        return found
    held = BundleOptions(
        free_focal=False,
        fixed_frames=tuple(frames.tolist()),
        robust_scale=2.0 * median_error(tracks, found),
        max_iterations=10,
    )
    found = forget_worst(tracks, adjust_reconstruction(tracks, found, held))
    return extend_to_all(tracks, found)


def run_colmap(
    workspace: Workspace, frames: Int[np.ndarray, "K"], guess: FocalGuess | None, report: Report
) -> ColmapModel | None:
    """Extract features, match them along the clip and map; return None if too little is registered.

    The same frames give the same model, bit by bit, however many threads there are.
    """
    import pycolmap

    quiet_colmap()
    paths = workspace.frames()
    names = [paths[i].name for i in frames]
    with tempfile.TemporaryDirectory() as folder, report.progress(3, "COLMAP") as step:
        root = Path(folder)
        database = root / "database.db"
        _extract(pycolmap, workspace, frames, names, database, root, guess)
        step()
        pairing = pycolmap.SequentialPairingOptions(overlap=6, quadratic_overlap=True)
        # Matches are verified in threads of COLMAP's own, which the seed of the process never reaches.
        verification = pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = SEED
        pycolmap.match_sequential(
            database,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        step()
        (root / "models").mkdir()
        models = pycolmap.incremental_mapping(
            database, workspace.rgb_dir, root / "models", mapping_options(guess is None or not guess.certain)
        )
        step()
        if not models:
            return None
        best = max(models.values(), key=lambda model: model.num_reg_images())
        # A model may have all its images and no point: nothing holds such poses together.
        enough = best.num_reg_images() >= _MIN_REGISTERED * len(frames) and best.num_points3D() > 0
        return _read(best, names, frames) if enough else None


def _extract(
    pycolmap: Any,
    workspace: Workspace,
    frames: Int[np.ndarray, "K"],
    names: list[str],
    database: Path,
    root: Path,
    guess: FocalGuess | None,
) -> None:
    clip = workspace.clip()
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE")
    if guess is not None:
        reader.camera_params = f"{guess.focal},{clip.width / 2},{clip.height / 2}"
    if workspace.has_masks():
        reader.mask_path = root / "masks"
        for frame, name in zip(frames, names, strict=True):
            static = ~_grown(workspace.dynamic_mask(int(frame)))
            write_bytes(root / "masks" / f"{name}.png", encode_png(static.astype(np.uint8) * 255))
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = _MAX_FEATURES
    # Images that extraction finds itself are numbered as its threads come to an end, and the mapper goes by
    # their numbers.
    single = pycolmap.CameraMode.SINGLE
    with pycolmap.Database.open(database):
        pass
    pycolmap.import_images(database, workspace.rgb_dir, single, names, reader)
    pycolmap.extract_features(
        database, workspace.rgb_dir, names, single, reader, options, pycolmap.Device.cpu
    )


def _grown(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def _read(model: Any, names: list[str], frames: Int[np.ndarray, "K"]) -> ColmapModel:
    frame_of = dict(zip(names, frames, strict=True))
    found = [(frame_of[im.name], im.cam_from_world().matrix()) for im in model.images.values() if im.has_pose]
    found.sort(key=lambda pair: pair[0])
    camera = next(iter(model.cameras.values()))
    return ColmapModel(
        focal=float(camera.params[0]),
        center=(float(camera.params[1]) - 0.5, float(camera.params[2]) - 0.5),
        frames=np.array([frame for frame, _ in found]),
        world_to_cameras=np.stack([matrix for _, matrix in found]),
        error=float(model.compute_mean_reprojection_error()),
    )
