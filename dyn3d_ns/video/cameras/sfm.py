"""Cameras from tracks: which kind of motion it is, the focal length, all poses, the points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from dyn3d_ns.video.cameras.adjustment import BundleOptions
from dyn3d_ns.video.cameras.completion import (
    CameraSolution,
    complete,
    extend_to_all,
    forget_worst,
    median_error,
)
from dyn3d_ns.video.cameras.focal import DEFAULT_FOV, FocalGuess, focal_of_fov, fov_of_focal
from dyn3d_ns.video.cameras.incremental import (
    Reconstruction,
    StaticTracks,
    adjust_reconstruction,
    triangulate_new,
    unexplained,
)
from dyn3d_ns.video.cameras.static_camera import fit_turning, is_still
from dyn3d_ns.video.cameras.track_mapper import map_tracks

_SEARCH_FOVS = (35.0, 50.0, 65.0, 82.0)
_PLAUSIBLE_FOV = (12.0, 130.0)
_SEARCH_TRACKS = 1000
"""Tracks that focal lengths are tried on."""
_ADJUSTED_TRACKS = 3000
"""Tracks that are adjusted together with the cameras; the others are located afterwards."""
_ALL_FRAMES = 120
"""Clips up to this length are adjusted with all frames at once."""
_FORGIVING = ((2.0, 25), (0.5, 25), (0.5, 50))
"""Scale of the loss, in median errors, and steps at most of each of the last adjustments.

Tracks slide a little along edges, always the same way, which bends the focal length; a narrow loss sees
past it.
"""
_TURNING_RESIDUAL = 0.75
"""Pixels (at 640) that a camera may miss by and still count as one that only turns."""


def solve_cameras(
    tracks: StaticTracks,
    guess: FocalGuess | None,
    max_keyframes: int = 60,
    note: Callable[[str], None] = lambda _: None,
    propose: Callable[[], Reconstruction | None] | None = None,
) -> CameraSolution:
    """Find the cameras of a clip from tracks of what does not move.

    A camera at rest and one that only turns are recognised first, as no point can be located from them.
    Otherwise focal lengths are tried on few frames, the best is refined on keyframes, and all other frames
    are fitted to the points. What could not be done is told to `note`. Where the tracks do not locate the
    camera, `propose` may give another way's reconstruction.
    """
    default = guess.focal if guess is not None else focal_of_fov(DEFAULT_FOV, tracks.width)
    if is_still(tracks):
        note(
            "the camera does not move: its pose is the same for all frames" + _guessed(guess, tracks, default)
        )
        return _still(tracks, default)
    keyframes = select_keyframes(tracks, max_keyframes)
    limit = _TURNING_RESIDUAL * max(1.0, tracks.width / 640.0)
    some = thinned(tracks, _ADJUSTED_TRACKS)
    turning = fit_turning(some, keyframes, default, guess is None or not guess.certain)
    if turning is not None and turning.residual < limit:
        note("the camera turns but stays in its place: depth cannot be told from it")
        return complete(tracks, turning.reconstruction, "turning", note)
    best = _search_focal(tracks, keyframes, guess)
    other = propose() if best is None and propose is not None else None
    if other is not None and other.known.any():
        return complete(tracks, other, "moving", note)
    if best is None:
        if turning is not None:
            note(
                "too few points, or too little parallax, to locate the camera: only its rotation is estimated"
            )
            return complete(tracks, turning.reconstruction, "turning", note)
        note("too few points can be followed to find the camera: one pose is used for all frames")
        return _still(tracks, default)
    return complete(tracks, _full(tracks, keyframes, best, guess), "moving", note)


def select_keyframes(tracks: StaticTracks, limit: int) -> Int[np.ndarray, "K"]:
    """Pick frames between which points move by 4 % of the width, or half of the points are new.

    The first and the last frame are among them; if there are more than `limit`, the spacing is widened.
    """
    step = 0.04 * tracks.width
    while True:
        chosen = [0]
        for frame in range(1, len(tracks.usable)):
            if _shows_more(tracks, chosen[-1], frame, step):
                chosen.append(frame)
        if chosen[-1] != len(tracks.usable) - 1:
            chosen.append(len(tracks.usable) - 1)
        if len(chosen) <= limit or step > tracks.width:
            break
        step *= 1.4
    if len(chosen) < min(8, len(tracks.usable)):
        chosen = (
            np.linspace(0, len(tracks.usable) - 1, min(8, len(tracks.usable))).round().astype(int).tolist()
        )
    ids = np.unique(chosen)
    return ids if len(ids) <= limit else ids[np.linspace(0, len(ids) - 1, limit).round().astype(int)]


def _shows_more(tracks: StaticTracks, before: int, now: int, step: float) -> bool:
    """Tell whether points moved by a step (pixels) between two frames, or half of them are gone."""
    common = tracks.usable[before] & tracks.usable[now]
    if not common.any():
        return bool(tracks.usable[before].any() or tracks.usable[now].any())
    moved = np.linalg.norm(tracks.xy[now, common] - tracks.xy[before, common], axis=1)
    return bool(common.sum() < 0.5 * tracks.usable[before].sum() or np.median(moved) > step)


def _guessed(guess: FocalGuess | None, tracks: StaticTracks, focal: float) -> str:
    if guess is not None:
        return ""
    fov = fov_of_focal(focal, tracks.width)
    return f"; its field of view is unknown and taken to be {fov:.0f} degrees (give --cameras.focal)"


def _search_focal(
    tracks: StaticTracks, keyframes: Int[np.ndarray, "K"], guess: FocalGuess | None
) -> Reconstruction | None:
    """Reconstruct a few frames from several focal lengths; return the one that explains most."""
    tracks = thinned(tracks, _SEARCH_TRACKS)
    few = keyframes[np.linspace(0, len(keyframes) - 1, min(10, len(keyframes))).round().astype(int)]
    starts = [guess.focal] if guess is not None else [focal_of_fov(d, tracks.width) for d in _SEARCH_FOVS]
    free = guess is None or not guess.certain
    found = [_mapped(tracks, few, start, free) for start in starts]
    low, high = _PLAUSIBLE_FOV
    solved = [r for r in found if r is not None and low < fov_of_focal(r.bundle.focal, tracks.width) < high]
    return min(solved, key=lambda r: unexplained(tracks, r, few)) if solved else None


def _mapped(
    tracks: StaticTracks, frames: Int[np.ndarray, "K"], focal: float, free: bool
) -> Reconstruction | None:
    """Map some frames and adjust them, with the focal length or without."""
    found = map_tracks(tracks, frames, focal)
    return _adjusted(tracks, found, free, 1.0) if found is not None and found.known.any() else None


def _adjusted(
    tracks: StaticTracks, found: Reconstruction, free: bool, scale: float, steps: int = 50
) -> Reconstruction:
    """Locate what can be located, and adjust all with a scale (pixels) of the loss."""
    fixed = (int(np.flatnonzero(found.registered)[0]),)
    options = BundleOptions(free, fixed, scale, steps)
    return adjust_reconstruction(tracks, triangulate_new(tracks, found), options)


def thinned(tracks: StaticTracks, limit: int) -> StaticTracks:
    """Keep some of the tracks, the chance of each growing with how long it is seen."""
    length = tracks.usable.sum(0)
    if (length > 1).sum() <= limit:
        return tracks
    keys = np.random.default_rng(0).random(len(length)) ** (1.0 / np.maximum(length - 1, 1e-9))
    chosen = np.zeros(len(length), bool)
    chosen[np.argsort(-keys)[:limit]] = True
    return replace(tracks, usable=tracks.usable & chosen)


def _full(
    tracks: StaticTracks, keyframes: Int[np.ndarray, "K"], start: Reconstruction, guess: FocalGuess | None
) -> Reconstruction:
    """Reconstruct all keyframes from the focal length found, then tighten the loss to the tracks' noise."""
    free = guess is None or not guess.certain
    tracks = thinned(tracks, _ADJUSTED_TRACKS)
    full = map_tracks(tracks, keyframes, start.bundle.focal)
    if full is None or full.registered.sum() < start.registered.sum():
        full = start
    if len(tracks.usable) <= _ALL_FRAMES:
        full = extend_to_all(tracks, triangulate_new(tracks, full))
    for forgiving, steps in _FORGIVING:
        scale = forgiving * median_error(tracks, full)
        full = forget_worst(tracks, _adjusted(tracks, full, free, scale, steps))
    return full


def _still(tracks: StaticTracks, focal: float) -> CameraSolution:
    count_f, count_n = tracks.usable.shape
    return CameraSolution(
        np.tile(np.eye(3), (count_f, 1, 1)),
        np.zeros((count_f, 3)),
        focal,
        tracks.center,
        np.ones(count_f, bool),
        np.zeros((count_n, 3)),
        np.zeros(count_n, bool),
        "still",
    )
