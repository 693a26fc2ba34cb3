"""A scene of what a file holds: at its times, between them, and in a checkpoint."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dyn3d_ns.gaussians.imported import ImportedScene, scene_of_file, slerp
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.splat_files.table import SplatFile
from dyn3d_ns.io.splats import About, Splats, StoredSequence

N = 5


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """Nothing here is trained."""
    with torch.no_grad():
        yield


def quarter_turns(i: int) -> np.ndarray:
    """Return a quarter turn about z for each step, of the last Gaussian; with the sign that it comes with."""
    quats = np.zeros((N, 4), np.float32)
    quats[:, 0] = 1
    quats[-1] = (-1) ** i * np.array([np.cos(i * np.pi / 4), 0, 0, np.sin(i * np.pi / 4)])
    return quats


def file(same_rows: bool = True) -> SplatFile:
    """Return three instants at uneven times: one Gaussian moves, one turns, one fades, one changes colour."""
    rng = np.random.default_rng(0)
    base = Splats(
        rng.normal(size=(N, 3)).astype(np.float32),
        quarter_turns(0),
        np.exp(rng.normal(size=(N, 3))).astype(np.float32),
        np.full(N, 0.5, np.float32),
        rng.normal(size=(N, 4, 3)).astype(np.float32),
    )
    instants = []
    for i in range(3):
        means, opacities, sh = base.means.copy(), base.opacities.copy(), base.sh.copy()
        means[0] += i
        opacities[1] = (0.2, 0.8, 0.4)[i]
        sh[2] += i
        instants.append(Splats(means, quarter_turns(i), base.scales, opacities, sh))
    return SplatFile(StoredSequence(instants, (2.0, 3.0, 6.0), About()), same_rows, ())


def test_its_times_show_what_the_file_holds() -> None:
    given = file()
    scene = scene_of_file(given, SAME)
    for i, t in enumerate((0.0, 0.25, 1.0)):
        found, splats = scene.at(t), given.sequence.at(i)
        np.testing.assert_array_equal(found.means, splats.means)
        np.testing.assert_allclose(found.scales, splats.scales, rtol=1e-6)
        np.testing.assert_allclose(found.opacities, splats.opacities, atol=1e-6)
        np.testing.assert_array_equal(found.colors, splats.sh)
        cosine = np.abs((found.quats.numpy() * splats.quats).sum(1))
        np.testing.assert_allclose(cosine, 1, atol=1e-6)
    kept = {name: scene.track_of(name).shape for name in scene.params}
    assert kept["means"] == (3, 1, 3) and kept["scales"] == (3, 0, 3) and kept["quats"] == (3, 1, 4)


def test_between_two_times_values_are_mixed_and_rotations_turn_the_short_way() -> None:
    scene = scene_of_file(file(), SAME)
    first, found = scene.at(0.0), scene.at(0.5)
    torch.testing.assert_close(found.means[0], first.means[0] + 4 / 3)
    torch.testing.assert_close(found.opacities[1], torch.tensor(0.8 - 0.4 / 3))
    torch.testing.assert_close(found.colors[2], first.colors[2] + 4 / 3)
    angle = (1 + 1 / 3) * np.pi / 4
    expected = torch.tensor([np.cos(angle), 0, 0, np.sin(angle)], dtype=torch.float32)
    torch.testing.assert_close((found.quats[-1] @ expected).abs(), torch.tensor(1.0))
    torch.testing.assert_close(found.quats.norm(dim=1), torch.ones(N))


def test_velocities_are_those_of_the_way_and_end_with_the_file() -> None:
    scene = scene_of_file(file(), SAME)
    for t, speed in ((-0.5, 0), (0.0, 4), (0.1, 4), (0.25, 4 / 3), (1.0, 4 / 3), (1.5, 0)):
        found = scene.at(t)
        torch.testing.assert_close(found.velocities[0], torch.full((3,), float(speed)))
        assert bool((found.velocities[1:] == 0).all())
        assert found.dynamic.tolist() == [True, True, True, False, True], "one looks the same at all times"
    np.testing.assert_array_equal(scene.at(1.5).means, scene.at(1.0).means)


def test_rows_that_are_not_the_same_are_held() -> None:
    scene = scene_of_file(file(same_rows=False), SAME)
    np.testing.assert_array_equal(scene.at(0.9).means, scene.at(0.25).means)
    assert scene.at(0.2499).means[0, 0] == scene.at(0.0).means[0, 0]
    assert scene.at(0.9).velocities is None


def test_it_lies_in_the_world_of_training() -> None:
    transform = np.eye(4)
    transform[:3, 3] = [-8, 0, 4]
    given = file()
    found = scene_of_file(given, World(transform, 2.0)).at(0.0)
    splats = given.sequence.at(0)
    np.testing.assert_allclose(found.means, 2 * (splats.means + [-8, 0, 4]), rtol=1e-6)
    np.testing.assert_allclose(found.scales, 2 * splats.scales, rtol=1e-6)


def test_a_checkpoint_fills_an_empty_scene() -> None:
    scene, empty = scene_of_file(file(), SAME), ImportedScene.empty(1)
    empty.load_state_dict(scene.state_dict())
    for t in (0.0, 0.1, 0.7):
        torch.testing.assert_close(empty.at(t).means, scene.at(t).means, rtol=0, atol=0)
        torch.testing.assert_close(empty.at(t).quats, scene.at(t).quats, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="features_rest"):
        ImportedScene.empty(2).load_state_dict(scene.state_dict())


def test_one_instant_rests() -> None:
    given = file()
    one = SplatFile(StoredSequence(given.sequence.instants[:1], (0.0,), About()), True, ())
    found = scene_of_file(one, SAME).at(0.7)
    assert found.velocities is None and found.dynamic is None


def test_slerp_of_equal_and_of_opposite_signs() -> None:
    quats = torch.nn.functional.normalize(
        torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1
    )
    torch.testing.assert_close(slerp(quats, quats, 0.3), quats)
    torch.testing.assert_close(slerp(quats, -quats, 0.3), quats)
