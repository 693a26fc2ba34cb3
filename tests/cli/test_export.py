"""Exports of Gaussians that move in a known way."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.export import ExportPly, ExportTrajectories
from dyn3d_ns.cli.export_options import shown
from dyn3d_ns.cli.rig import load_scene, require_checkpoint, telling_what_lacks
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.export.instants import write_instants
from dyn3d_ns.export.npz import write_trajectories
from dyn3d_ns.export.ply import LOSS, encode_ply
from dyn3d_ns.export.scene import TrainedSequence
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.ply import read_points, read_vertices
from dyn3d_ns.io.splats import About, Splats
from dyn3d_ns.timeline import Timeline

N = 7
VELOCITY = torch.tensor([1.0, -2.0, 0.5])


class Translating:
    """Seven Gaussians; all but the first two move at one velocity."""

    timeline = Timeline(tuple(i / 10 for i in range(10)), t_obs=0.6, fps=10.0)
    world = SAME

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.means = torch.nn.Parameter(torch.randn(N, 3, generator=generator))
        self.quats = 3 * torch.randn(N, 4, generator=generator)
        self.colors = torch.rand(N, 4, 3, generator=generator)
        self.dynamic = torch.arange(N) >= 2

    def gaussians_at(self, time: float) -> Gaussians:
        velocities = self.dynamic[:, None] * VELOCITY
        return Gaussians(
            means=self.means + time * velocities,
            quats=self.quats,
            scales=torch.full((N, 3), 0.25),
            opacities=torch.full((N,), 0.75),
            colors=self.colors,
            velocities=velocities,
            dynamic=self.dynamic,
        )


def export_ply(model: Translating, named: dict[str, float], folder: Path) -> list[Path]:
    sequence = TrainedSequence(model, list(named.values()), About())  # type: ignore[arg-type]
    write_instants(sequence, folder, list(named), ".ply", encode_ply, LOSS)
    return [folder / f"{name}.ply" for name in named]


def export_trajectories(model: Translating, times: list[float], path: Path) -> None:
    sequence = TrainedSequence(model, times, About())  # type: ignore[arg-type]
    write_trajectories(sequence, path, model.timeline.duration)


UTM = np.array([448000.0, 5411000.0, 120.0])
"""A place in a map's coordinates, of which float32 knows half metres."""


def far_and_tiny() -> World:
    """A world eight times as large as the data's, which lie far away."""
    transform = np.eye(4)
    transform[:3, 3] = -UTM
    return World(transform, 8.0)


def test_exports_are_in_the_units_of_the_data(tmp_path: Path) -> None:
    model = Translating()
    model.world = far_and_tiny()
    (path,) = export_ply(model, {"first": 0.0}, tmp_path)
    vertices = read_vertices(path)
    wanted = UTM + model.means.detach().numpy() / 8
    assert [vertices.dtype[axis] for axis in "xyz"] == [np.float64] * 3
    np.testing.assert_allclose(
        np.stack([vertices[axis] for axis in "xyz"], axis=1), wanted, rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(vertices["scale_0"], np.log(0.25 / 8), rtol=1e-6)
    np.testing.assert_allclose(read_points(path).xyz, wanted, rtol=0, atol=1e-8)
    export_trajectories(model, [0.0, 0.5], tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as found:
        np.testing.assert_allclose(found["means"][0], wanted, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found["velocities"][1, 2:], np.tile(VELOCITY / 8, (N - 2, 1)))
    model.world = World(np.eye(4), 8.0)
    (path,) = export_ply(model, {"near": 0.0}, tmp_path)
    assert set(dict(read_vertices(path).dtype.descr).values()) == {"<f4"}, "viewers read float"


def test_ply_holds_the_gaussians_at_each_time(tmp_path: Path) -> None:
    model = Translating()
    options = ExportPly(load_config=Path("unused"), output=tmp_path, frames=(0, 9))
    paths = export_ply(model, options.named_times(model.timeline), tmp_path)
    assert [path.name for path in paths] == ["frame_00000.ply", "frame_00009.ply"]
    first, last = (read_vertices(path) for path in paths)
    moved = np.stack([last[axis] - first[axis] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(moved[:2], 0)
    np.testing.assert_allclose(moved[2:], np.tile(0.9 * VELOCITY, (N - 2, 1)), atol=1e-6)
    np.testing.assert_allclose(first["scale_1"], np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-first["opacity"])), 0.75, rtol=1e-6)
    np.testing.assert_allclose(first["f_dc_2"], model.colors[:, 0, 2].numpy())
    assert len([name for name in first.dtype.names if name.startswith("f_rest")]) == 9


def test_trajectories_are_float32_arrays_without_pickles(tmp_path: Path) -> None:
    model, path = Translating(), tmp_path / "deep" / "tracks.npz"
    export_trajectories(model, [0.0, 0.5, 1.25], path)
    with np.load(path, allow_pickle=False) as tracks:
        assert {name: (tracks[name].shape, tracks[name].dtype.name) for name in tracks.files} == {
            "times": ((3,), "float32"),
            "dynamic": ((N,), "bool"),
            "means": ((3, N, 3), "float32"),
            "velocities": ((3, N, 3), "float32"),
            "quats": ((3, N, 4), "float32"),
        }
        np.testing.assert_array_equal(tracks["times"], np.float32([0.0, 0.5, 1.25]))
        np.testing.assert_array_equal(tracks["dynamic"], [False, False] + [True] * 5)
        moved = tracks["means"][2] - tracks["means"][0]
        np.testing.assert_allclose(moved, 1.25 * tracks["velocities"][0], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(tracks["quats"], axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, [f"frame_{i:05d}" for i in range(10)]),
        ({"frames": (3, 1)}, ["frame_00001", "frame_00003"]),
        ({"times": (1.5, 0.25)}, ["time_02500", "time_15000"]),
        ({"times": (12.0, 0.25)}, ["time_002500", "time_120000"]),
        ({"fps": 5.0}, [f"frame_{i:05d}" for i in range(5)]),
        ({"future": True}, [f"frame_{i:05d}" for i in range(13)]),
    ],
)
def test_times_are_named(options: dict, names: list[str]) -> None:
    chosen = ExportPly(load_config=Path("x"), output=Path("y"), **options).named_times(Translating.timeline)
    assert list(chosen) == names
    if "frames" in options:
        assert list(chosen.values()) == [0.1, 0.3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": (0.5,), "frames": (1,)}, "one of --times and --frames"),
        ({"fps": 5.0, "frames": (1,)}, "one of --frames and --fps"),
        ({"fps": 0.0}, "--fps must be a number above 0"),
        ({"times": (-0.1,)}, "--times must be finite numbers from 0 on"),
        ({"times": (0.5, 0.50001)}, "must differ by a ten-thousandth"),
        ({"times": (0.5,), "future": True}, "name the times themselves"),
        ({"metres_per_unit": -1.0}, "--metres-per-unit must be"),
        ({"times": (float("inf"),)}, "--times must be finite"),
        ({"fps": 1e9}, r"--fps 1e\+09 makes 900000001 times"),
        ({"frames": (2, 10)}, r"--frames must lie in 0 to 9, got \[10\]"),
        ({"frames": ()}, r"--frames must be numbers from 0 on, got \(\)"),
    ],
)
def test_wrong_times_are_refused(options: dict, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        ExportPly(load_config=Path("x"), output=Path("y"), **options).named_times(Translating.timeline)


@pytest.mark.parametrize(
    ("ask", "lacks"),
    [
        (lambda method: method.gaussians_at(0.0), "no Gaussians that move"),
        (lambda method: method.velocity_at(torch.zeros(1, 3), 0.0), "no velocity field"),
    ],
)
def test_what_a_method_lacks_is_told_by_name(tmp_path: Path, ask, lacks: str) -> None:
    import yaml
    from nerfstudio.engine.trainer import TrainerConfig

    config = tmp_path / "config.yml"
    config.write_text(yaml.dump(TrainerConfig(method_name="dyn3d-rays")))
    bare = DynamicMethod.__new__(DynamicMethod)
    with (
        pytest.raises(CommandError, match=f"a training of dyn3d-rays, which has {lacks}"),
        telling_what_lacks(config),
    ):
        ask(bare)


def test_a_training_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    from nerfstudio.engine.trainer import TrainerConfig

    config = TrainerConfig(method_name="x", output_dir=tmp_path, data=tmp_path, timestamp="now")
    with pytest.raises(CommandError, match="holds no checkpoint"):
        require_checkpoint(config)
    config.get_checkpoint_dir().mkdir(parents=True)
    (config.get_checkpoint_dir() / "step-000000001.ckpt").touch()
    require_checkpoint(config)


def test_methods_are_asked_for_one_time_at_once_and_the_next_while_one_is_packed() -> None:
    asked: list[int] = []
    busy = threading.Lock()

    class Recording(TrainedSequence):
        def at(self, index: int) -> Splats:
            assert busy.acquire(blocking=False), "asked for two times at once"
            asked.append(index)
            found = super().at(index)
            busy.release()
            return found

    sequence = Recording(Translating(), [0.0, 0.5, 1.0], About())  # type: ignore[arg-type]
    with shown(sequence) as ahead:
        for index in (0, 0, 1, 2, 1):
            moved = ahead.at(index).means - ahead.at(0).means
            np.testing.assert_allclose(moved[2:], np.tile(0.5 * index * VELOCITY, (N - 2, 1)), atol=1e-6)
    assert {0, 1, 2} == set(asked)


def test_trajectories_need_an_npz_name() -> None:
    with pytest.raises(CommandError, match="must end in .npz, got tracks.json"):
        ExportTrajectories(load_config=Path("x"), output=Path("tracks.json")).run()


def test_a_training_of_a_stock_method_is_refused(tmp_path: Path) -> None:
    import yaml
    from nerfstudio.engine.trainer import TrainerConfig

    config = tmp_path / "config.yml"
    config.write_text(yaml.dump(TrainerConfig(method_name="splatfacto")))
    with pytest.raises(CommandError, match="is a training of splatfacto; this command takes dyn3d-"):
        load_scene(config)
