"""How learned motions go on after the last observed time, and how sure that is.

A body's way on is the mean of many ways (:mod:`dyn3d_ns.fields.kriging`), each told beside a body at rest, a
spinning one or one of steady twist. A way counts by how well it predicts the last parts of the observed time,
shorter and longer ones, from what comes before them, judged by where it carries all points of the body. No
single way is chosen, so that a hair's breadth in what was learned changes the result by no more than that.
Nothing is rendered, and only observed times are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dyn3d_ns.fields.body_frames import Frame, apply, cross_matrix, exp, frames_of, log, pivots, transposed
from dyn3d_ns.fields.kriging import BEATS, FAMILIES, PRIOR, SAME, SAME_BEAT, Array, Family, parts, predict

Chosen = NDArray[np.int64] | NDArray[np.bool_]
"""Numbers of what is meant, or whether each is."""
PARTS = (0.4, 0.7, 1.0, 1.3, 1.6)
"""Lengths of what is predicted in the back-tests, in units of ``holdout``."""
SHARPNESS = 6.0
"""A way that errs twice as much (root mean square) counts less by this power of four."""
FLOOR, BODY_FLOOR = 0.02, 0.005
"""Errors that make no difference, relative to how far the points of a body move, and to its radius."""
SWEEPS = 3
"""Times that the steady part of the motions is found, given what goes on beside it."""
POOL = 40.0
"""How much more a beat counts that another body has for sure."""
SHARED = 0.05
"""Share of a motion from which on it counts for a point."""
LEAST = 8
"""Observed times below which nothing is predicted."""
JOIN = 2.5
"""Frames over which the forecast leaves the observed place and rate."""
CAUTION = 3.0
"""Power to which a displacement stands against its expected error."""


@dataclass(frozen=True)
class Observed:
    """K motions (rest left out) at T even times, the last one the last observed.

    Point i is at ``sum_k codes_ik (R_k (points_i + sum_j latents_kj bends_ij) + t_k)``.
    """

    times: Array
    """[T]"""
    rotations: Array
    """[T, K, 3, 3]"""
    translations: Array
    """[T, K, 3]"""
    latents: Array
    """[T, K, J]"""
    points: Array
    """[P, 3] canonical places."""
    bends: Array
    """[P, J, 3]"""
    codes: Array
    """[P, K]"""
    mass: Array
    """[P] how much each point counts, such as its opacity."""


@dataclass(frozen=True)
class Forecast:
    """The motions at F + 1 frames, the first of which is the last observed time."""

    rotations: Array
    """[F + 1, K, 3, 3]"""
    translations: Array
    """[F + 1, K, 3]"""
    latents: Array
    """[F + 1, K, J]"""
    errors: Array
    """[F + 1, K] expected root mean square error of a motion's points, world units, from the back-tests."""
    notes: list[str]
    """What each motion does, in words."""


class _Predictions:
    """The matrices of all ways, for each back-test and for the future."""

    def __init__(self, times: Array, cuts: Sequence[int], later: Array) -> None:
        asked = [*((cut, times[cut:]) for cut in cuts), (len(times), later)]
        kinds = {(family.ways, degree): None for family in FAMILIES for degree in family.degrees}
        self._found = {key: predict(*key, times, asked) for key in kinds}

    def matrices(self, family: Family, test: int, trend: bool = False) -> list[Array]:
        """Return those for the centre, the rotation and the latent motions, [ways, F, T] each."""
        return [self._found[family.ways, degree][test][int(trend)] for degree in family.degrees]


def _carry(matrices: Sequence[Array], values: Array) -> Array:
    """Predict coordinates [T, K, 6 + J] with matrices [W, F, T] for each kind; returns [W, F, K, 6 + J]."""
    kinds = (slice(0, 3), slice(3, 6), slice(6, None))
    return np.concatenate(
        [np.tensordot(m, values[..., kind], axes=1) for m, kind in zip(matrices, kinds, strict=True)], axis=-1
    )


class _Body:
    """Motions that share points, and are judged and continued together; most often one."""

    def __init__(self, seen: Observed, motions: Chosen, centers: Array) -> None:
        self.motions = motions
        self.mine = np.asarray((seen.codes[:, motions] > SHARED).any(1))
        self.gram = self._gram(seen, self.mine, centers)
        self.floor = 0.0

    def _gram(self, seen: Observed, mine: Chosen, centers: Array) -> Array:
        """Return the quadratic form [T, D, D] that makes errors of coordinates (as told in the bodies) the
        mean square errors of the points."""
        codes, points, bends = seen.codes[mine][:, self.motions], seen.points[mine], seen.bends[mine]
        weight = seen.mass[mine] * codes.sum(1)
        root = np.sqrt(weight / weight.sum())[:, None, None]
        straight, bent = np.broadcast_to(np.eye(3), (len(points), 3, 3)), transposed(bends)
        grams = []
        for turns, latents in zip(seen.rotations, seen.latents, strict=True):
            columns = []
            for share, k in zip(codes.T, self.motions, strict=True):
                arms = points - centers[k] + np.einsum("pjc,j->pc", bends, latents[k])
                moves = np.concatenate([straight, -cross_matrix(arms), bent], axis=-1)
                columns.append(share[:, None, None] * (turns[k] @ moves))
            rows = (root * np.concatenate(columns, axis=-1)).reshape(3 * len(points), -1)
            grams.append(rows.T @ rows)
        return np.stack(grams)

    def away(self, seen: Observed, centers: Array, turns: Array, path: Array, latents: Array) -> Array:
        """Return how far the points have come from the first of some poses (root mean square), [F]."""
        codes = seen.codes[self.mine][:, self.motions]
        total = np.zeros((len(turns), len(codes), 3))
        for share, k, turn, center, latent in zip(
            codes.T, self.motions, *(np.moveaxis(x, 1, 0) for x in (turns, path, latents)), strict=True
        ):
            arms = (
                seen.points[self.mine] - centers[k] + np.einsum("pjc,fj->fpc", seen.bends[self.mine], latent)
            )
            total += share[:, None] * (arms @ transposed(turn) + center[:, None])
        weight = seen.mass[self.mine] * codes.sum(1)
        return np.sqrt(np.square(total - total[0]).sum(2) @ weight / weight.sum())

    def set_floor(self, still: Array) -> None:
        """Find what errors make no difference, from the coordinates beside rest [T, K, 6 + J]."""
        moves = (still - still.mean(0)).reshape(len(still), -1)
        spread = np.einsum("ta,tab,tb->t", moves, self.gram, moves).mean()
        radius = np.trace(self.gram[0][3:6, 3:6]) / 2
        self.floor = FLOOR**2 * spread + BODY_FLOOR**2 * radius + 1e-30

    def squares(self, gaps: Array, start: int) -> Array:
        """Return mean square errors of the points [W, F] for errors [W, F, K, D], from a time on."""
        flat = gaps.reshape(*gaps.shape[:2], -1).transpose(1, 0, 2)
        return ((flat @ self.gram[start : start + len(flat)]) * flat).sum(-1).T


def _back_test(
    body: _Body,
    frames: Sequence[Frame],
    values: Sequence[Array],
    fixes: Sequence[Array],
    table: _Predictions,
    cuts: Sequence[int],
) -> list[Array]:
    """Return the mean square errors of all ways in each test, [W, F] world units squared."""
    found: list[list[Array]] = [[] for _ in cuts]
    for family in FAMILIES:
        truth, fix = values[family.frame][:, body.motions], fixes[family.frame][:, body.motions]
        for test, cut in enumerate(cuts):
            gaps = _carry(table.matrices(family, test), truth[:cut]) - truth[cut:]
            gaps[..., :3] = apply(fix[cut:], gaps[..., :3])
            found[test].append(body.squares(gaps, cut))
    return [np.concatenate(part) for part in found]


def _weigh(tests: Sequence[Sequence[Array]], floors: Sequence[float]) -> list[Array]:
    """Weigh all ways for each body by their errors; a beat counts more where another body has it too."""
    scores = []
    for found, floor in zip(tests, floors, strict=True):
        score = np.mean([np.log(squares.mean(1) + floor) for squares in found], axis=0)
        scores.append(PRIOR * np.exp(-SHARPNESS * (score - score.min())))
    alone = np.stack([score / score.sum() for score in scores])
    shared = alone @ SAME
    weights = np.stack(scores) * (1 + POOL * (shared.sum(0) - shared))
    return list(weights / weights.sum(1, keepdims=True))


def _settle(
    frames: list[Frame],
    values: Sequence[Array],
    bodies: Sequence[_Body],
    weights: Sequence[Array],
    table: _Predictions,
) -> list[Frame]:
    """Move into the frames what is steady beside them."""
    moved = frames[:1]
    for index, frame in enumerate(frames[1:], start=1):
        steady = np.zeros((2, len(frame.spin), 6))
        for body, weight in zip(bodies, weights, strict=True):
            total = 0.0
            for family, part in zip(FAMILIES, parts(weight), strict=True):
                if family.frame == index and family.degrees[1]:
                    trends = [
                        np.tensordot(part, m, axes=1)[None] for m in table.matrices(family, -1, trend=True)
                    ]
                    steady[:, body.motions] += _carry(trends, values[index][:, body.motions])[0, ..., :6]
                    total += part.sum()
            steady[:, body.motions] /= max(total, 1e-300)
        moved.append(frame.moved(*steady))
    return moved


def _note(weight: Array, duration: float) -> str:
    """Say in words what a body does."""
    beating, shares = weight * (BEATS > 0), {"rest": 0.0, "steady": 0.0, "change": 0.0, "beat": 0.0}
    mode = int(np.argmax(beating @ SAME))
    at_mode = beating * (np.abs(BEATS - BEATS[mode]) < 3 * SAME_BEAT)
    clear = at_mode.sum() > 0.5 * beating.sum()
    for family, part in zip(FAMILIES, parts(weight), strict=True):
        kind = family.kind if family.kind != "beat" or clear else "steady" if family.degrees[0] else "rest"
        shares[kind] += float(part.sum())
    kind, share = max(shares.items(), key=lambda item: item[1])
    beats = float(at_mode @ BEATS / max(at_mode.sum(), 1e-300)) / duration
    words = {
        "rest": "comes to rest",
        "steady": "goes on steadily",
        "change": "goes on with a steady change of its velocity",
        "beat": f"goes on periodically, {beats:.2f} beats a unit of time",
    }
    return words[kind] if share > 0.8 else f"{words[kind]} ({share:.0%} sure)"  # noqa: PLR2004


def forecast(observed: Observed, dt: float, frames: int, holdout: float = 0.25) -> Forecast:
    """Continue motions beyond the last observed time.

    Args:
        observed: The motions.
        dt: Time between two frames.
        frames: Number of frames to predict.
        holdout: Part of the observed time that the back-tests predict, about.
    """
    seen, steps = observed, len(observed.times)
    share = seen.codes * seen.mass[:, None]
    carrying = share.sum(0) > 1e-9
    out = _held(seen, frames)
    duration = float(seen.times[-1] - seen.times[0])
    if steps < LEAST or duration <= 0 or not carrying.any():
        return out
    share = share / share.sum(0).clip(1e-12)
    times, later = (seen.times - seen.times[0]) / duration, 1 + dt / duration * np.arange(frames + 1)
    middle = share.T @ seen.points
    sizes = np.sqrt(np.einsum("pk,pkc->k", share, np.square(seen.points[:, None] - middle)))
    about = pivots(times, seen.rotations, seen.translations, middle, sizes)
    centers = apply(seen.rotations, about) + seen.translations
    cuts = [steps - max(round(part * holdout * steps), 2) for part in PARTS]
    cuts = [cut for cut in cuts if cut >= LEAST // 2]
    table = _Predictions(times, cuts, later)
    bodies = [_Body(seen, motions, about) for motions in _groups(seen.codes, share, carrying)]
    moving = frames_of(times, seen.rotations, centers)
    for sweep in range(SWEEPS):
        values = [
            np.concatenate([frame.coordinates(times, seen.rotations, centers), seen.latents], axis=-1)
            for frame in moving
        ]
        if sweep == 0:
            for body in bodies:
                body.set_floor(values[0][:, body.motions])
        fixes = [frame.gaps_in_body(times, seen.rotations) for frame in moving]
        tests = [_back_test(body, moving, values, fixes, table, cuts) for body in bodies]
        weights = _weigh(tests, [body.floor for body in bodies])
        if sweep < SWEEPS - 1:
            moving = _settle(moving, values, bodies, weights, table)
    for body, weight, found in zip(bodies, weights, tests, strict=True):
        k = body.motions
        turns, path, latents, spread = _mean(body, moving, values, weight, table, later)
        turns, path, latents = _join(
            (seen.rotations[:, k], centers[:, k], seen.latents[:, k]), (turns, path, latents), times, later
        )
        errors = _errors(found, weight, spread, times, later)
        away = body.away(seen, about, turns, path, latents)
        turns, path, latents = _paced(away, errors, turns, path, latents)
        out.rotations[:, k], out.latents[:, k] = turns, latents
        out.translations[:, k] = path - apply(turns, about[k])
        out.errors[:, k] = errors[:, None]
        for motion in k:
            out.notes[motion] = _note(weight, duration)
    return out


def _held(seen: Observed, frames: int) -> Forecast:
    """Keep the last observed poses."""
    rotations, translations, latents = (
        np.repeat(x[-1:], frames + 1, axis=0) for x in (seen.rotations, seen.translations, seen.latents)
    )
    number = rotations.shape[1]
    return Forecast(rotations, translations, latents, np.zeros((frames + 1, number)), ["rests"] * number)


def _groups(codes: Array, share: Array, carrying: Chosen) -> list[Chosen]:
    """Put motions together that share points."""
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 (as in gaussians/bodies.py)

    linked = (share.T @ (codes > SHARED)) > SHARED
    _, labels = connected_components(linked, directed=False)
    groups = [np.nonzero((labels == label) & carrying)[0] for label in range(labels.max() + 1)]
    return [group for group in groups if len(group)]


def _mean(
    body: _Body,
    frames: Sequence[Frame],
    values: Sequence[Array],
    weight: Array,
    table: _Predictions,
    later: Array,
) -> tuple[Array, Array, Array, Array]:
    """Return the weighted mean of all ways at the later times, and how far apart they are there.

    Orientations are averaged as matrices and made rotations again, the rest as it is; the last are mean
    squares of the points' distances from the mean, [F].
    """
    turns, path, latents, spread = 0.0, 0.0, 0.0, np.zeros(len(later))
    for family, part in zip(FAMILIES, parts(weight), strict=True):
        share = float(part.sum())
        if share < 1e-9:
            continue
        frame, past = frames[family.frame].pick(body.motions), values[family.frame][:, body.motions]
        each = _carry(table.matrices(family, -1), past)
        mean = np.tensordot(part / share, each, axes=1)
        for way, gap in zip(part, each - mean, strict=True):
            flat = gap.reshape(len(gap), -1)
            spread += way * ((flat @ body.gram[-1]) * flat).sum(-1)
        r, c = frame.poses(later, mean[..., :6])
        turns, path, latents = turns + share * r, path + share * c, latents + share * mean[..., 6:]
    u, _, vt = np.linalg.svd(turns)
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt, np.asarray(path), np.asarray(latents), spread


def _errors(found: Sequence[Array], weight: Array, spread: Array, times: Array, later: Array) -> Array:
    """Return the expected error at the later times, from its growth in the back-tests."""
    longest = max(squares.shape[1] for squares in found)
    total, number = np.zeros(longest), np.zeros(longest)
    for squares in found:
        total[: squares.shape[1]] += weight @ squares
        number[: squares.shape[1]] += 1
    growth = np.sqrt(np.concatenate([[0.0], np.maximum.accumulate(total / number)]))
    step, horizon = times[1] - times[0], later - later[0]
    steps = horizon / step
    known = np.interp(steps, np.arange(longest + 1), growth)
    beyond = growth[-1] / longest * (steps - longest).clip(0)
    return np.maximum.accumulate(np.maximum(known + beyond, np.sqrt(spread) * (horizon > 0)))


def _join(
    past: tuple[Array, Array, Array], ahead: tuple[Array, Array, Array], times: Array, later: Array
) -> tuple[Array, Array, Array]:
    """Let orientations, centres and latents start at the place that was observed last, and at about the rate:
    that of a parabola through as much of the past as the forecast takes to leave it."""
    if len(later) < 3:  # noqa: PLR2004
        return ahead
    since, tau = (later - later[0])[:, None, None], JOIN * (later[1] - later[0])
    recent = max(int(np.sum(times > times[-1] - tau)), 4)

    def rate(values: Array, at: Array) -> Array:
        """Return the rate where the samples begin or end, at time zero."""
        fit = np.linalg.pinv(np.vander(at, 3, increasing=True)[:, 1:])[0]
        return np.tensordot(fit, values, axes=1)

    def leave(gap: Array, rates: Array) -> Array:
        return (gap + (rates + gap / tau) * since) * np.exp(-since / tau)

    before, after = times[-recent:] - times[-1], later[:3] - later[0]
    joined = [
        b + leave(a[-1] - b[0], rate(a[-recent:] - a[-1], before) - rate(b[:3] - b[0], after))
        for a, b in zip(past[1:], ahead[1:], strict=True)
    ]
    seen, told = past[0][-recent:], ahead[0][:3]
    seen, told = log(seen @ transposed(seen[-1])), log(told @ transposed(told[0]))
    gap = log(past[0][-1] @ transposed(ahead[0][0]))
    turns = exp(leave(gap, rate(seen, before) - rate(told, after))) @ ahead[0]
    return turns, joined[0], joined[1]


def _paced(
    away: Array, errors: Array, turns: Array, path: Array, latents: Array
) -> tuple[Array, Array, Array]:
    """Go the foretold way ever slower as the error to expect grows beside how far it leads.

    Where a displacement D is told with an error E, the pace is D^3 / (D^3 + E^3): what is sure goes on, and
    what is not comes to rest on its way. (A power of 2 would be the best guess of a single displacement; that
    slows down what beats.)
    """
    far, pace = np.maximum.accumulate(away) ** CAUTION, np.ones_like(away)
    np.divide(far, far + errors**CAUTION, out=pace, where=far > 0)
    place = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]))])
    i = np.minimum(place.astype(int), len(place) - 2)
    u = (place - i)[:, None, None]
    between = log(transposed(turns[i]) @ turns[i + 1])
    return (
        turns[i] @ exp(u * between),
        path[i] + u * (path[i + 1] - path[i]),
        latents[i] + u * (latents[i + 1] - latents[i]),
    )
