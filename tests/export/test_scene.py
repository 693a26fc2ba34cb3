"""What a file gets of a trained scene: the times, the axes, the units."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dyn3d_ns.export.scene import TrainedSequence, about_model, centred, turn_to
from dyn3d_ns.export.scene import turned as turned_world
from dyn3d_ns.export.written import frame_rate
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.geometry.harmonics import harmonic_basis
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About, StoredSequence, View
from dyn3d_ns.timeline import Timeline

COUNT = 6


class Still:
    """Gaussians with colours of degree 3 that move evenly."""

    timeline = Timeline(tuple(i / 10 for i in range(10)), t_obs=0.6, fps=5.0)

    def __init__(self, world: World = SAME) -> None:
        generator = torch.Generator().manual_seed(3)
        self.world, self.count = world, COUNT
        self.means = torch.randn(COUNT, 3, generator=generator)
        self.quats = torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=generator), dim=1)
        self.colors = torch.randn(COUNT, 16, 3, generator=generator)

    def gaussians_at(self, time: float) -> Gaussians:
        n = self.count
        rise = torch.tensor([0.0, 0.0, 2.0]).expand(n, 3)
        return Gaussians(
            self.means[:n] + time * rise, self.quats[:n], torch.tensor([[0.1, 0.2, 0.3]]).repeat(n, 1),
            torch.full((n,), 0.5), self.colors[:n], rise, torch.ones(n, dtype=torch.bool),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("up", "axis", "wanted"),
    [
        ((0, 0, 1), "y", [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        ((0, 1, 0), "y", np.eye(3)),
        ((0, -1, 0), "y", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ((0, 1, 0), "z", [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ((0.3, -0.2, 0.1), "data", np.eye(3)),
    ],
)
def test_up_is_brought_to_the_axis_asked_for(up, axis, wanted) -> None:
    np.testing.assert_allclose(turn_to(np.array(up, float), axis), wanted, atol=1e-15)


def test_a_slanted_up_is_turned_the_shortest_way() -> None:
    up = np.array([1.0, 2.0, -0.5])
    turn = turn_to(up, "z")
    np.testing.assert_allclose(turn @ up / np.linalg.norm(up), [0, 0, 1], atol=1e-12)
    angle = np.arccos(up[2] / np.linalg.norm(up))
    assert Rotation.from_matrix(turn).magnitude() == pytest.approx(angle)


def colors_towards(sh: np.ndarray, directions: np.ndarray) -> np.ndarray:
    basis = torch.cat([harmonic_basis(torch.from_numpy(directions), d) for d in (1, 2, 3)], dim=1).numpy()
    return 0.5 + 0.28209479 * sh[:, :1] + np.einsum("dk,nkc->ndc", basis, sh[:, 1:])


def test_a_turn_turns_places_orientations_velocities_and_colours() -> None:
    plain = TrainedSequence(Still(), [0.2], About()).at(0)  # type: ignore[arg-type]
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7])
    turned = TrainedSequence(Still(), [0.2], About(), turned_world(SAME, turn.as_matrix())).at(0)  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.means, turn.apply(plain.means), atol=1e-6)
    assert plain.velocities is not None and turned.velocities is not None
    np.testing.assert_allclose(turned.velocities, turn.apply(plain.velocities), atol=1e-6)
    wanted = turn * Rotation.from_quat(plain.quats[:, [1, 2, 3, 0]])
    found = Rotation.from_quat(turned.quats[:, [1, 2, 3, 0]])
    assert (wanted.inv() * found).magnitude().max() < 1e-5
    directions = np.random.default_rng(0).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = colors_towards(turned.sh, turn.apply(directions))
    np.testing.assert_allclose(seen, colors_towards(plain.sh, directions), atol=1e-5)
    np.testing.assert_array_equal(turned.scales, plain.scales)


@pytest.mark.parametrize(
    ("axis", "signs"),
    [("x", "--+|-++-+|-+--+-+"), ("z", "-+-|+-+-+|-+-+-+-")],
)
def test_half_turns_change_the_signs_of_harmonics(axis: str, signs: str) -> None:
    """The coefficients 1 to 15 in the order of 3DGS."""
    model = Still()
    turn = Rotation.from_euler(axis, 180, degrees=True).as_matrix()
    turned = TrainedSequence(model, [0.0], About(), turned_world(SAME, turn)).at(0)  # type: ignore[arg-type]
    wanted = np.array([1 if sign == "+" else -1 for sign in signs.replace("|", "")])
    np.testing.assert_allclose(turned.sh[:, 1:], model.colors[:, 1:].numpy() * wanted[:, None], atol=1e-5)


def test_units_are_the_data_s_and_velocities_a_second_s() -> None:
    model = Still(World(np.eye(4), 4.0))
    sequence = TrainedSequence(model, [0.0, 0.5], About())  # type: ignore[arg-type]
    assert sequence.seconds == (0.0, pytest.approx(1.0)), "ten frames at five a second"
    splats = sequence.at(0)
    np.testing.assert_allclose(splats.means, model.means.numpy() / 4, rtol=1e-6)
    np.testing.assert_allclose(splats.scales[0], [0.025, 0.05, 0.075])
    assert splats.velocities is not None
    np.testing.assert_allclose(splats.velocities, np.tile([0, 0, 2 / 4 / 2], (COUNT, 1)))


def test_what_is_said_of_a_scene() -> None:
    turn = turn_to(np.array([0.0, 0.0, 1.0]), "y")
    pose = np.eye(4)
    pose[:3, 3] = 0, 0, 3
    about = about_model(Still(), "m", "y", [View(pose, 50.0, (4, 3))], turn)  # type: ignore[arg-type]
    assert (about.method, about.up, about.fps, about.observed) == ("m", "y", 5.0, (0.0, pytest.approx(1.2)))
    np.testing.assert_allclose(about.views[0].pose[:3, 3], [0, 3, 0])


def test_a_changing_number_of_gaussians_is_refused() -> None:
    model = Still()
    sequence = TrainedSequence(model, [0.0, 0.5], About())  # type: ignore[arg-type]
    sequence.at(0)
    model.count = 4
    with pytest.raises(CommandError, match="has 4 Gaussians at 1 s and 6 before"):
        sequence.at(1)


@pytest.mark.parametrize("name", ["means", "quats", "colors"])
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    model = Still()
    getattr(model, name)[2] = float("nan")
    sequence = TrainedSequence(model, [0.5], About())  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="1 of 6 Gaussians are NaN or infinite at 1 s"):
        sequence.at(0)


def test_a_scene_without_gaussians_is_refused() -> None:
    model = Still()
    model.count = 0
    with pytest.raises(CommandError, match="has no Gaussian at 0 s"):
        TrainedSequence(model, [0.0], About()).at(0)  # type: ignore[arg-type]


def test_what_moves_at_any_time_moves_though_a_stream_says_it_of_each_frame() -> None:
    """Nothing moves in a stream's first frame, and what is replaced jumps without moving."""

    class Stream(Still):
        def gaussians_at(self, time: float) -> Gaussians:
            found = super().gaussians_at(0.0)
            means, dynamic = found.means.clone(), torch.zeros(COUNT, dtype=torch.bool)
            means[1] += time > 0.3
            means[4] += time > 0.8
            dynamic[4] = time > 0.8
            return replace(found, means=means, dynamic=dynamic)

    sequence = TrainedSequence(Stream(), [0.0, 0.5, 0.9], About())  # type: ignore[arg-type]
    assert sequence.moving.tolist() == [False, True, False, False, True, False]


def test_places_far_from_the_origin_get_one_of_their_own() -> None:
    transform = np.eye(4)
    transform[:3, 3] = -448000.0, -5411000.0, -120.0
    about = About(views=(View(np.linalg.inv(transform), 50.0, (4, 3)),))
    sequence = TrainedSequence(Still(World(transform, 1.0)), [0.0, 0.5], about)  # type: ignore[arg-type]
    near = centred(sequence)
    assert near.at(1).means.dtype == np.float32
    np.testing.assert_allclose(near.at(1).means + near.about.origin, sequence.at(1).means, atol=1e-5)
    np.testing.assert_allclose(
        near.about.views[0].pose[:3, 3] + near.about.origin, [448000.0, 5411000.0, 120.0]
    )
    plain = TrainedSequence(Still(), [0.0], About())  # type: ignore[arg-type]
    assert centred(plain) is plain


@pytest.mark.parametrize(
    ("seconds", "rate"), [((0.0, 0.1, 0.2), 10.0), ((0.0, 0.1, 0.25), 30.0), ((0.4,), 30.0)]
)
def test_the_rate_is_that_of_even_times_or_of_the_recording(seconds, rate) -> None:
    splats = TrainedSequence(Still(), [0.0], About()).at(0)  # type: ignore[arg-type]
    assert frame_rate(StoredSequence([splats] * len(seconds), seconds, About(fps=30.0))) == rate
