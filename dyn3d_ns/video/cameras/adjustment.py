"""Bundle adjustment of poses, points and one focal length by COLMAP (Ceres), on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.bundle import Bundle, Observations


@dataclass(frozen=True)
class BundleOptions:
    """What is adjusted, and how long."""

    free_focal: bool = True
    """Adjust the focal length."""
    fixed_frames: tuple[int, ...] = (0,)
    """Cameras that stay where they are; they hold the gauge."""
    robust_scale: float = 1.0
    """Residual (pixels) from which the Cauchy loss forgives."""
    max_iterations: int = 50
    """Steps of Levenberg-Marquardt at most."""
    tolerance: float = 1e-6
    """Stop when a step lowers the cost by less than this fraction."""


def colmap_camera(focal: float, center: tuple[float, float]) -> Any:
    """Return COLMAP's camera of an image whose principal point is its middle."""
    import pycolmap

    # COLMAP counts pixels from the corner of the image: pixel centres lie at +0.5.
    middle = (center[0] + 0.5, center[1] + 0.5)
    width, height = (round(2 * value) for value in middle)
    return pycolmap.Camera(
        camera_id=1,
        model="SIMPLE_PINHOLE",
        width=width,
        height=height,
        params=[focal, *middle],
        has_prior_focal_length=True,
    )


def adjust_bundle(bundle: Bundle, seen: Observations, options: BundleOptions) -> Bundle:
    """Minimise the robust reprojection error (Cauchy) over what the options leave free.

    Cameras that see nothing, and points seen less than twice, stay as they are and take no room.

    Raises:
        ValueError: there is no observation, or one names a camera or a point that does not exist.
    """
    import pycolmap

    _check(bundle, seen)
    model, config = pycolmap.Reconstruction(), pycolmap.BundleAdjustmentConfig()
    model.add_camera_with_trivial_rig(colmap_camera(bundle.focal, bundle.center))
    within = np.empty(len(seen.frames), int)
    for frame, rows in _groups(seen.frames):
        within[rows] = np.arange(len(rows))
        image = pycolmap.Image(str(frame), seen.pixels[rows] + 0.5, camera_id=1, image_id=frame + 1)
        model.add_image_with_trivial_frame(image, _pose(bundle, frame))
        config.add_image(frame + 1)
        if frame in options.fixed_frames:
            config.set_constant_rig_from_world_pose(frame + 1)
    made = {}
    for point, rows in _groups(seen.points):
        if len(rows) < 2:
            continue
        track = pycolmap.Track()
        for frame, index in zip(seen.frames[rows].tolist(), within[rows].tolist(), strict=True):
            track.add_element(frame + 1, index)
        made[point] = model.add_point3D(bundle.points[point], track)
    pycolmap.create_default_bundle_adjuster(_ceres_options(options), config, model).solve()
    moved = replace(
        bundle,
        rotations=bundle.rotations.copy(),
        translations=bundle.translations.copy(),
        points=bundle.points.copy(),
        focal=float(model.cameras[1].params[0]) if options.free_focal else bundle.focal,
    )
    for number, image in model.images.items():
        if number - 1 not in options.fixed_frames:
            pose = image.cam_from_world().matrix()
            moved.rotations[number - 1], moved.translations[number - 1] = pose[:, :3], pose[:, 3]
    for point, number in made.items():
        moved.points[point] = model.points3D[number].xyz
    return moved


def refine_poses(
    bundle: Bundle, seen: Observations, free: Bool[np.ndarray, "F"], robust_scale: float = 1.0
) -> Bundle:
    """Fit each free pose to its own observations (Cauchy loss); points stay."""
    import pycolmap

    rotations, translations = bundle.rotations.copy(), bundle.translations.copy()
    camera = colmap_camera(bundle.focal, bundle.center)
    options = pycolmap.AbsolutePoseRefinementOptions()
    options.loss_function_scale, options.gradient_tolerance = robust_scale, 1e-6
    for frame, rows in _groups(seen.frames):
        if not free[frame]:
            continue
        points = bundle.points[seen.points[rows]]
        every = np.ones(len(rows), bool)
        found = pycolmap.refine_absolute_pose(
            _pose(bundle, frame), seen.pixels[rows] + 0.5, points, every, camera, options
        )
        if found is not None:
            pose = found["cam_from_world"].matrix()
            rotations[frame], translations[frame] = pose[:, :3], pose[:, 3]
    return replace(bundle, rotations=rotations, translations=translations)


def _check(bundle: Bundle, seen: Observations) -> None:
    if len(seen.frames) == 0:
        raise ValueError("no observation to adjust the cameras by")
    if seen.frames.max() >= len(bundle.rotations) or seen.points.max() >= len(bundle.points):
        raise ValueError(
            f"an observation names camera {seen.frames.max()} and point {seen.points.max()} at most, but "
            f"there are {len(bundle.rotations)} cameras and {len(bundle.points)} points"
        )


def _groups(index: Int[np.ndarray, "O"]) -> Iterator[tuple[int, Int[np.ndarray, "M"]]]:
    """Yield each number and the rows that hold it."""
    if len(index) == 0:
        return
    order = np.argsort(index, kind="stable")
    numbers, starts = np.unique(index[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)


def _pose(bundle: Bundle, frame: int) -> Any:
    import pycolmap

    matrix: Float[np.ndarray, "3 4"] = np.column_stack((bundle.rotations[frame], bundle.translations[frame]))
    return pycolmap.Rigid3d(matrix)


def _ceres_options(options: BundleOptions) -> Any:
    import pycolmap

    chosen = pycolmap.BundleAdjustmentOptions()
    chosen.refine_focal_length = options.free_focal
    chosen.refine_principal_point = chosen.refine_extra_params = False
    chosen.print_summary = False
    chosen.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    chosen.ceres.loss_function_scale = options.robust_scale
    solver = chosen.ceres.solver_options
    # One thread sums in one order: the same tracks give the same cameras.
    solver.num_threads, solver.max_num_iterations = 1, options.max_iterations
    solver.function_tolerance = options.tolerance
    return chosen
