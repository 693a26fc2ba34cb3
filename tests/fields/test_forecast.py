"""Bodies go on as they moved: falling, turning, drifting, flapping, swimming; and say how sure that is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dyn3d_ns.fields.forecast import Forecast, Observed, _paced, forecast

T_OBS, DT, FRAMES = 0.75, 1 / 60, 14
SEEN, LATER = np.linspace(0, T_OBS, 46), T_OBS + DT * np.arange(FRAMES + 1)
Pose = Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Rotation vector, shift and two latent motions at a time."""


def falling(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([0, 0, 1.2 * t]), np.array([0.3 * t, 0, t - 2 * t**2]), np.zeros(2)


def turning(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([0, 40.0 * t, 0]), np.zeros(3), np.zeros(2)


def drifting(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([0, 0, 0.3 * t]), np.array([0.5 * t, 0, 0.1 * t]), np.zeros(2)


def flapping(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    phase = 2 * np.pi * 1.6 * t
    return (
        np.array([0.6 * np.sin(phase), 0, 0]),
        np.zeros(3),
        np.array([np.cos(phase), 0.3 * np.sin(2 * phase)]),
    )


def swimming(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along an arc, while a wave runs down the body."""
    phase, turn = 2 * np.pi * 1.7 * t, 0.8 * t
    path = np.array([np.cos(turn), np.sin(turn), 0])
    return np.array([0, 0, turn + 0.1 * np.sin(phase)]), path, np.array([np.cos(phase), np.sin(phase)])


def stopping(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(3), np.array([np.sin(2 * np.pi * min(t, 0.25)), 0, 0]), np.zeros(2)


PATHS = [falling, turning, drifting, flapping, swimming, stopping]


def tables(paths: list[Pose], times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = [[path(t) for path in paths] for t in times]
    vectors, shifts, latents = (np.array([[v[i] for v in row] for row in values]) for i in range(3))
    turns = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)
    return turns, shifts, latents


def observe(paths: list[Pose], codes: np.ndarray | None = None, times: np.ndarray = SEEN) -> Observed:
    generator = np.random.default_rng(0)
    codes = np.eye(len(paths)).repeat(30, axis=0) if codes is None else codes
    points, bends = generator.normal(0, 0.3, (len(codes), 3)), generator.normal(0, 0.05, (len(codes), 2, 3))
    return Observed(times, *tables(paths, times), points, bends, codes, np.ones(len(codes)))


def carry(seen: Observed, turns: np.ndarray, shifts: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """Return where the points go, [T, P, 3]."""
    bent = seen.points[:, None] + np.einsum("tkj,pjc->tpkc", latents, seen.bends)
    moved = np.einsum("tkij,tpkj->tpki", turns, bent) + shifts[:, None]
    return np.einsum("pk,tpki->tpi", seen.codes, moved)


def places(seen: Observed, ahead: Forecast) -> np.ndarray:
    return carry(seen, ahead.rotations, ahead.translations, ahead.latents)


@pytest.fixture(scope="module")
def everything() -> tuple[Observed, Forecast, np.ndarray]:
    seen = observe(PATHS)
    ahead = forecast(seen, DT, FRAMES)
    return seen, ahead, places(seen, ahead) - carry(seen, *tables(PATHS, LATER))


@pytest.mark.parametrize("index", range(len(PATHS)))
def test_each_body_goes_on(everything, index: int) -> None:
    seen, _, error = everything
    mine = seen.codes[:, index] > 0
    truth = carry(seen, *tables(PATHS, LATER))[:, mine]
    farthest = np.linalg.norm(truth - truth[0], axis=-1).mean(1).max()
    assert np.linalg.norm(error[-1, mine], axis=-1).mean() < 0.08 * max(farthest, 0.15)


def test_words_say_what_goes_on(everything) -> None:
    _, ahead, _ = everything
    assert "change of its velocity" in ahead.notes[0]
    assert "periodically, 1.6" in ahead.notes[3]
    assert "periodically, 1.7" in ahead.notes[4]
    assert "rest" in ahead.notes[5]


def test_place_and_rate_are_those_last_observed(everything) -> None:
    """The forecast starts at the last observed pose and leaves it with the observed velocity."""
    seen, _, _ = everything
    ahead = forecast(seen, 1e-3, 20)
    path = places(seen, ahead)
    last = carry(seen, seen.rotations[-3:], seen.translations[-3:], seen.latents[-3:])
    assert np.allclose(path[0], last[-1], atol=1e-9)
    step = seen.times[1] - seen.times[0]
    observed = (3 * last[2] - 4 * last[1] + last[0]) / (2 * step)
    ours = (-3 * path[0] + 4 * path[1] - path[2]) / 2e-3
    slow = seen.codes[:, 1] == 0
    assert np.abs(ours - observed)[slow].max() < 0.02 * np.linalg.norm(observed[slow], axis=-1).max()


def test_a_swing_turns_round_after_half_of_it_was_seen() -> None:
    """A pendulum told with some noise is foretold to come back, which it was never seen to do."""
    swinging: Pose = lambda t: (  # noqa: E731
        np.array([0.5 * np.cos(np.pi * t / T_OBS), 0, 0]),
        np.zeros(3),
        np.zeros(2),
    )
    seen, generator = observe([swinging]), np.random.default_rng(0)
    noise = 3e-3 * generator.normal(size=seen.translations.shape)
    seen = replace(seen, points=seen.points - [0, 0, 2.5], translations=seen.translations + noise)
    truth = carry(seen, *tables([swinging], LATER))
    error = np.linalg.norm(places(seen, forecast(seen, DT, FRAMES)) - truth, axis=-1).mean(1)
    assert error[-1] < 0.3 * np.linalg.norm(truth[-1] - truth[0], axis=-1).mean()


def test_the_last_rate_does_not_hang_on_the_last_sample() -> None:
    """Orientations that shake do not throw the body aside in its first foretold frame."""
    seen, generator = observe([drifting]), np.random.default_rng(0)
    shaking = Rotation.from_rotvec(0.15 * generator.normal(size=(len(SEEN), 3))).as_matrix()[:, None]
    seen = replace(seen, rotations=seen.rotations @ shaking)
    path = places(seen, forecast(seen, DT, FRAMES))
    assert np.linalg.norm(path[1] - path[0], axis=-1).mean() < 0.06


def test_what_is_unsure_slows_down_on_its_way() -> None:
    times = np.arange(6.0)
    turns = Rotation.from_rotvec(times[:, None] * [0, 0, 0.3]).as_matrix()[:, None]
    path, latents = times[:, None, None] * [2.0, 0, 0], times[:, None, None] * [1.0, -1]
    sure = _paced(2 * times, 0 * times, turns, path, latents)
    for same, given in zip(sure, (turns, path, latents), strict=True):
        assert np.allclose(same, given)
    # As far off as it leads: half the pace from the second frame on.
    slow_turns, slow, bent = _paced(2 * times, 2 * times, turns, path, latents)
    assert np.allclose(slow[:, 0, 0], [0, 1.5, 2.5, 3.5, 4.5, 5.5])
    assert np.allclose(bent[:, 0, 0], slow[:, 0, 0] / 2)
    assert np.allclose(Rotation.from_matrix(slow_turns[:, 0]).as_rotvec()[:, 2], 0.15 * slow[:, 0, 0])


def test_rounding_changes_next_to_nothing() -> None:
    seen, generator = observe(PATHS), np.random.default_rng(1)

    def shaken(x: np.ndarray) -> np.ndarray:
        return x * (1 + 1e-5 * generator.normal(size=x.shape))

    other = replace(seen, translations=shaken(seen.translations), latents=shaken(seen.latents))
    gap = places(seen, forecast(seen, DT, FRAMES)) - places(seen, forecast(other, DT, FRAMES))
    assert np.abs(gap).max() < 2e-3


def test_errors_grow_from_nothing_and_tell_the_sure_from_the_unsure() -> None:
    """What wanders at random is unsure, and its expected error is of the size of the true one."""
    times = np.concatenate([SEEN, LATER[1:]])
    near = np.exp(-0.5 * np.square((times[:, None] - times) / 0.12)) + 1e-8 * np.eye(len(times))
    walks = np.linalg.cholesky(near) @ np.random.default_rng(3).normal(0, 0.3, (6, len(times), 3))
    paths: list[Pose] = [
        lambda t, walk=walk: (np.zeros(3), walk[np.abs(times - t).argmin()], np.zeros(2)) for walk in walks
    ]
    seen = observe([*paths, flapping])
    ahead = forecast(seen, DT, FRAMES)
    error = places(seen, ahead) - carry(seen, *tables([*paths, flapping], LATER))
    assert np.all(ahead.errors[0] == 0) and np.all(np.diff(ahead.errors, axis=0) >= 0)
    assert ahead.errors[-1, :6].min() > 5 * ahead.errors[-1, 6]
    true = np.sqrt(np.square(error[-1, :180]).sum(-1).mean())
    assert true / 2 < np.sqrt(np.square(ahead.errors[-1, :6]).mean()) < 2 * true


def test_mixtures_stay_together() -> None:
    """Points that mix a motion and one that differs from it keep their distances in the future."""
    share = np.random.default_rng(2).uniform(0.2, 0.8, (80, 1))
    wide: Pose = lambda t: (1.5 * flapping(t)[0], flapping(t)[1], flapping(t)[2])  # noqa: E731
    paths = [flapping, wide]
    seen = observe(paths, np.concatenate([share, 1 - share], axis=1))
    ahead, truth = places(seen, forecast(seen, DT, FRAMES)), carry(seen, *tables(paths, LATER))
    gaps = [np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (ahead, truth)]
    assert np.abs(gaps[0] - gaps[1]).max() < 0.05
    assert np.linalg.norm(ahead - truth, axis=-1).max() < 0.05


def test_a_motion_that_carries_nothing_and_a_short_past_are_held() -> None:
    seen = observe([drifting, flapping], np.tile([1.0, 0.0], (20, 1)))
    ahead = forecast(seen, DT, FRAMES)
    assert np.array_equal(ahead.rotations[-1, 1], seen.rotations[-1, 1]) and ahead.notes[1] == "rests"
    assert not np.array_equal(ahead.translations[-1, 0], seen.translations[-1, 0])
    short = forecast(observe([drifting], times=SEEN[:3]), DT, FRAMES)
    assert np.array_equal(short.translations[-1], short.translations[0])
