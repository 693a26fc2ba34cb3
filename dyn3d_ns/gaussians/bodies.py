"""Cutting tracked Gaussians into bodies, and a body's motion into a rigid one and a few that bend it.

A body is what hangs together: its parts stay beside each other at their distances, whatever it does. Its
rigid motion is the best turn and shift of all its Gaussians at each time; what is left in its own frame is a
small matrix product of functions of time and coefficients of each Gaussian, by a singular value
decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dyn3d_ns.geometry.rotations import quat_multiply

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
PATCHES = 500
"""Patches of Gaussians, of like paths, that are compared with each other; their means hardly shake."""
REACH = 2.5
"""Patches within so many times the usual distance of neighbouring ones may hang together."""
STRETCH = 0.3
"""How far, in usual distances, two patches of one body may come nearer and go apart."""
LEAST = 0.01
"""Share of what moves that a body has to have; smaller pieces go with what moves most alike."""
RIGID = 0.1
"""A body whose bending is smaller than this part of its motion starts as a rigid one."""
HARDLY_SHOWN = 0.1
"""A turn about an axis that costs less than this part of one about another is hardly told by the points."""
_LOOKS = 12
"""Times at which paths are compared."""


@dataclass(frozen=True)
class Bodies:
    """B bodies, the first one what rests, over T times."""

    labels: Int64[np.ndarray, "N"]
    """Which body each Gaussian belongs to."""
    centers: Float64[np.ndarray, "B 3"]
    """In the canonical time."""
    rotations: Float64[np.ndarray, "T B 3 3"]
    translations: Float64[np.ndarray, "T B 3"]
    """``x -> R x + t`` carries canonical places."""
    latents: Float64[np.ndarray, "T B L"]
    """Functions of time, zero at the canonical one and of mean square one where they are used."""
    bends: Float64[np.ndarray, "N L 7"]
    """What they add to each Gaussian's canonical place and quaternion (wxyz), before the rigid motion."""


def tell_apart(
    paths: Float64[np.ndarray, "T N 3"], canonical: int, mass: Array, rest: float, most: int
) -> Numbers:
    """Return the body of each Gaussian, 0 for what rests; the others in order of falling mass.

    Args:
        paths: Places over time, world units.
        canonical: Index of the canonical time.
        mass: How much each Gaussian counts, such as its opacity.
        rest: Distance from its canonical place that a resting Gaussian stays within, nearly always.
        most: Bodies that move, at most.
    """
    start = paths[canonical]
    reach = np.quantile(np.linalg.norm(paths - start, axis=2), 0.95, axis=0)
    labels, moving = np.zeros(len(start), np.int64), np.flatnonzero(reach > rest)
    if len(moving) < 16:
        return labels
    looks = np.unique(np.linspace(0, len(paths) - 1, _LOOKS).round().astype(int))
    features = paths[looks][:, moving].transpose(1, 0, 2).reshape(len(moving), -1)
    patch, weights = _patches(features, mass[moving])
    middles = np.stack([_means(patch, mass[moving], p[moving], len(weights)) for p in paths])
    solid = np.flatnonzero(weights > 0.1 * np.median(weights))
    pieces = _hang_together(middles[:, solid], canonical)
    share = np.bincount(pieces, weights=weights[solid]) / weights[solid].sum()
    chosen = np.argsort(-share, kind="stable")[: max(min(int((share > LEAST).sum()), most), 1)]
    number = np.zeros(len(share), np.int64)
    number[chosen] = np.arange(1, len(chosen) + 1)
    known = number[pieces]
    seen = middles[looks][:, solid[known > 0]].transpose(1, 0, 2).reshape(int((known > 0).sum()), -1)
    labels[moving] = known[known > 0][np.asarray(KDTree(seen).query(features)[1])]
    return labels


def _means(groups: Numbers, mass: Array, values: Array, count: int) -> Array:
    """Return the weighted mean of the rows of each group, [count, D]."""
    total = np.maximum(np.bincount(groups, weights=mass, minlength=count), 1e-12)
    columns = [np.bincount(groups, weights=mass * v, minlength=count) / total for v in values.T]
    return np.stack(columns, axis=1)


def _patches(features: Array, mass: Array) -> tuple[Numbers, Array]:
    """Group Gaussians by their paths: from points far apart, three rounds of k-means."""
    count = min(PATCHES, len(features) // 8)
    solid = mass > 0.5 * np.median(mass)
    chosen = [int(np.argmax(mass))]
    distance = np.square(features - features[chosen[0]]).sum(1)
    for _ in range(count - 1):
        chosen.append(int(np.argmax(distance * solid)))
        distance = np.minimum(distance, np.square(features - features[chosen[-1]]).sum(1))
    middles, patch = features[chosen], np.zeros(len(features), np.int64)
    for _ in range(3):
        patch = np.asarray(KDTree(middles).query(features)[1], np.int64).reshape(-1)
        middles = _means(patch, mass, features, count)
    return patch, np.bincount(patch, weights=mass, minlength=count).astype(np.float64)


def _hang_together(middles: Float64[np.ndarray, "T P 3"], canonical: int) -> Numbers:
    """Return the piece that each patch belongs to: neighbours whose distance hardly changes are of one."""
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 (of no use to who only asks for help)

    count = middles.shape[1]
    near = KDTree(middles[canonical]).query(middles[canonical], k=min(13, count))
    distances, found = np.asarray(near[0]), np.asarray(near[1])
    usual = np.median(distances[:, 1:5])
    a, b = np.repeat(np.arange(count), found.shape[1] - 1), found[:, 1:].ravel()
    lengths = np.linalg.norm(middles[:, a] - middles[:, b], axis=2)
    change = np.quantile(lengths, 0.98, axis=0) - np.quantile(lengths, 0.02, axis=0)
    joined = (change < STRETCH * usual) & (lengths[canonical] < REACH * usual)
    edges = coo_matrix((np.ones(joined.sum()), (a[joined], b[joined])), shape=(count, count))
    return connected_components(edges, directed=False)[1]


def rigid_motion(points: Array, paths: Array, mass: Array, canonical: int) -> tuple[Array, Array]:
    """Return the turns [T, 3, 3] and shifts [T, 3] that bring points [N, 3] nearest to their paths [T, N, 3]
    (Kabsch).

    About axes that hardly show a turn, such as the length of a long body, it stays as at the time before,
    outward from the canonical one.
    """
    share = mass / mass.sum()
    center, centers = share @ points, np.einsum("n,tnc->tc", share, paths)
    covariance = np.einsum("n,ni,tnj->tij", share, points - center, paths - centers[:, None])
    u, _, vt = np.linalg.svd(covariance)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    turns = np.swapaxes(u @ vt, 1, 2)
    # How much a turn about an axis would cost.
    told = turns @ covariance
    cost, axes = np.linalg.eigh(np.trace(told, axis1=1, axis2=2)[:, None, None] * np.eye(3) - told)
    kept = 1 / (1 + (cost / (HARDLY_SHOWN * cost[:, -1:]).clip(1e-30)) ** 4)
    for frames in (range(canonical + 1, len(paths)), range(canonical - 1, -1, -1)):
        before = turns[canonical]
        for i in frames:
            for _ in range(3):  # a large turn back is one about an axis only by and by
                back = Rotation.from_matrix(before @ turns[i].T).as_rotvec()
                keep = axes[i] @ (kept[i] * (axes[i].T @ back))
                turns[i] = Rotation.from_rotvec(keep).as_matrix() @ turns[i]
            before = turns[i]
    return turns, centers - turns @ center


def describe_bodies(
    labels: Numbers,
    paths: Float64[np.ndarray, "T N 3"],
    quats: Float64[np.ndarray, "T N 4"],
    canonical: int,
    mass: Array,
    sizes: Array,
    latents: int,
    most: int,
) -> Bodies:
    """Split the motion of each body into a rigid and a bending one.

    Args:
        labels: Of :func:`tell_apart`.
        paths: Places over time, world units.
        quats: Orientations (wxyz) over time, of length one and continuous.
        canonical: Index of the canonical time.
        mass: How much each Gaussian counts.
        sizes: Standard deviations, world units: a turn counts as much as the way that it moves these.
        latents: Latent motions of each body.
        most: Bodies that move, at most; those that are not there rest.
    """
    times, number = len(paths), len(labels)
    rotations = np.tile(np.eye(3), (times, most + 1, 1, 1))
    translations, values = np.zeros((times, most + 1, 3)), np.zeros((times, most + 1, latents))
    bends, centers = np.zeros((number, latents, 7)), np.tile(paths[canonical].mean(0), (most + 1, 1))
    for body in range(1, int(labels.max(initial=0)) + 1):
        mine = np.flatnonzero(labels == body)
        points, weight = paths[canonical, mine], mass[mine]
        turn, shift = rigid_motion(points, paths[:, mine], weight, canonical)
        rotations[:, body], translations[:, body] = turn, shift
        centers[body] = np.average(points, axis=0, weights=weight)
        bent = np.einsum("tji,tnj->tni", turn, paths[:, mine] - shift[:, None]) - points
        turned = _turned_back(turn, quats[:, mine], canonical)
        unit = 2 * np.median(sizes[mine])
        joined = np.concatenate([bent, unit * (turned - turned[canonical])], axis=2)
        joined *= np.sqrt(weight)[:, None]
        u, s, vt = np.linalg.svd(joined.reshape(times, -1), full_matrices=False)
        kept = min(latents, len(s))
        values[:, body, :kept] = u[:, :kept] * np.sqrt(times)
        rows = (s[:kept, None] / np.sqrt(times) * vt[:kept]).reshape(kept, len(mine), 7)
        rows /= np.sqrt(weight)[:, None]
        rows[..., 3:] /= unit
        moved = np.square(paths[:, mine] - points).sum(2) @ weight
        if np.square(bent).sum(2).mean(0) @ weight > RIGID**2 * moved.mean():
            bends[mine, :kept] = rows.transpose(1, 0, 2)
    return Bodies(labels, centers, rotations, translations, values, bends)


def _turned_back(turn: Array, quats: Array, canonical: int) -> Array:
    """Return orientations [T, N, 4] (wxyz) as they are in a body's own frame, their signs those of the
    canonical time."""
    back = torch.from_numpy(Rotation.from_matrix(turn).inv().as_quat()[:, None, [3, 0, 1, 2]])
    turned = quat_multiply(back, torch.from_numpy(quats)).numpy()
    # A turn matrix does not tell the sign of its quaternion, and bends are small.
    return turned * np.where((turned * quats[canonical]).sum(2, keepdims=True) < 0, -1.0, 1.0)


def rotation_vectors(rotations: Float64[np.ndarray, "T 3 3"], canonical: int) -> Array:
    """Return rotation vectors (radians) that go on continuously from the canonical time, also past a whole
    turn."""
    vectors = Rotation.from_matrix(rotations).as_rotvec()
    for frames in (range(canonical + 1, len(vectors)), range(canonical - 1, -1, -1)):
        before = vectors[canonical]
        for i in frames:
            angle = np.linalg.norm(vectors[i])
            axis = vectors[i] / angle if angle > 1e-9 else before / max(np.linalg.norm(before), 1e-9)
            turns = np.round((axis @ before - angle) / (2 * np.pi))
            vectors[i] = before = vectors[i] + 2 * np.pi * turns * axis
    return vectors
