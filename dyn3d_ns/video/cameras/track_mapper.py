"""COLMAP's incremental mapper, with tracks in place of features."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.adjustment import colmap_camera
from dyn3d_ns.video.cameras.bundle import Bundle
from dyn3d_ns.video.cameras.incremental import OUTLIER, Reconstruction, StaticTracks

SEED = 0
"""Of all random numbers that COLMAP draws."""
_ERRORS = 2
"""Level of COLMAP's log above which it speaks."""
_MIN_MATCHES = 15
"""Tracks that two frames must share."""
_MIN_KNOWN = 12
"""Points that a new camera must see."""


def map_tracks(tracks: StaticTracks, frames: Int[np.ndarray, "K"], focal: float) -> Reconstruction | None:
    """Reconstruct some frames with a focal length (pixels) that may be wrong by a third, and stays.

    If it were adjusted along, two or three cameras would send it off: adjust it when all are there. Returns
    None where no pair of frames gives a start.
    """
    import pycolmap

    quiet_colmap()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_database(root / "database.db", tracks, frames, focal)
        (root / "models").mkdir()
        options = mapping_options(free_focal=False)
        options.min_num_matches, options.min_model_size = _MIN_MATCHES, 3
        options.mapper.init_min_num_inliers = 20
        # Four pixels, COLMAP's own, let wrong poses of small pictures pass.
        options.mapper.init_max_error = 1.0
        options.mapper.abs_pose_min_num_inliers = _MIN_KNOWN
        options.mapper.abs_pose_max_error = OUTLIER
        options.mapper.abs_pose_refine_focal_length = False
        options.structure_less_registration_fallback = False
        models = pycolmap.incremental_mapping(root / "database.db", root, root / "models", options)
    if not models:
        return None
    return _read(max(models.values(), key=lambda model: model.num_reg_images()), tracks)


def quiet_colmap() -> None:
    """Let COLMAP tell errors only, and draw the same random numbers every time (in this thread)."""
    import pycolmap

    pycolmap.logging.minloglevel = _ERRORS
    pycolmap.set_random_seed(SEED)


def mapping_options(free_focal: bool) -> Any:
    """Return the options of COLMAP's mapper for the frames of one video."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = SEED
    options.ba_refine_focal_length = free_focal
    options.ba_refine_principal_point = options.ba_refine_extra_params = False
    # The second best model is of no use, and the cameras need no last decimal: tracks adjust them.
    options.extract_colors = options.multiple_models = False
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.25
    options.ba_global_max_num_iterations, options.ba_global_max_refinements = 25, 2
    # Frames of a video lie close together: COLMAP's own 16 degrees would refuse the first pair.
    options.mapper.init_min_tri_angle = 4.0
    options.mapper.filter_min_tri_angle = options.triangulation.min_angle = 0.5
    return options


def _write_database(path: Path, tracks: StaticTracks, frames: Int[np.ndarray, "K"], focal: float) -> None:
    """Write what each frame sees as keypoints, and a match wherever two frames see one track.

    The matches count as verified: tracks that move were taken out before.
    """
    import pycolmap

    place = np.cumsum(tracks.usable, axis=1) - 1
    calibrated = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        camera = colmap_camera(focal, tracks.center)
        database.write_camera(camera, use_camera_id=True)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(camera.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for number in (frames + 1).tolist():
            image = pycolmap.Image(name=f"{number:06d}", camera_id=1, image_id=number)
            database.write_image(image, use_image_id=True)
            instant = pycolmap.Frame(frame_id=number, rig_id=1)
            instant.add_data_id(image.data_id)
            database.write_frame(instant, use_frame_id=True)
            pixels = tracks.xy[number - 1, tracks.usable[number - 1]] + 0.5
            database.write_keypoints(number, pixels.astype(np.float32))
        for i, a in enumerate(frames.tolist()):
            for b in frames[i + 1 :].tolist():
                common = np.flatnonzero(tracks.usable[a] & tracks.usable[b])
                if len(common) >= _MIN_MATCHES:
                    matches = np.stack((place[a, common], place[b, common]), 1).astype(np.uint32)
                    geometry = pycolmap.TwoViewGeometry(config=calibrated, inlier_matches=matches)
                    database.write_matches(a + 1, b + 1, matches)
                    database.write_two_view_geometry(a + 1, b + 1, geometry)


def _read(model: Any, tracks: StaticTracks) -> Reconstruction:
    """Turn COLMAP's model into a reconstruction; of two points on one track the one seen longer stays."""
    count_f, count_n = tracks.usable.shape
    rotations: Float[np.ndarray, "F 3 3"] = np.tile(np.eye(3), (count_f, 1, 1))
    translations, points = np.zeros((count_f, 3)), np.zeros((count_n, 3))
    registered: Bool[np.ndarray, "F"] = np.zeros(count_f, bool)
    length = np.zeros(count_n, int)
    for number, image in model.images.items():
        if image.has_pose:
            pose = image.cam_from_world().matrix()
            rotations[number - 1], translations[number - 1] = pose[:, :3], pose[:, 3]
            registered[number - 1] = True
    track_of = {number: np.flatnonzero(tracks.usable[number - 1]) for number in model.images}
    for point in model.points3D.values():
        elements = point.track.elements
        track = track_of[elements[0].image_id][elements[0].point2D_idx]
        if len(elements) > length[track]:
            points[track], length[track] = point.xyz, len(elements)
    focal = float(next(iter(model.cameras.values())).params[0])
    bundle = Bundle(rotations, translations, points, focal, tracks.center)
    return Reconstruction(bundle, registered, length > 0)
