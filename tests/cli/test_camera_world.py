"""Camera paths in the data's world and in that of training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.cli import path as presets
from dyn3d_ns.cli.camera_paths import circle, look_at
from dyn3d_ns.cli.rig import CameraRig
from dyn3d_ns.geometry.world import SAME, training_world
from dyn3d_ns.io.camera_world import to_training
from dyn3d_ns.timeline import Timeline

UP, MIDDLE = np.array([0.0, 0.0, 1.0]), np.zeros(3)
ANGLES = np.radians(np.arange(0, 360, 30))
EYES = 4 * np.stack((np.cos(ANGLES), np.sin(ANGLES), 0.5 * np.ones(12)), axis=1)
RIG = CameraRig(
    look_at(EYES, MIDDLE, UP),
    np.arange(12),
    np.full(12, 40.0),
    np.tile([64, 48], (12, 1)),
    Timeline((0.0, 0.5, 1.0), 1.0, 1.0),
)
FAR = np.array([448000.0, 5411000.0, 120.0])


def poses_of(frames: list[dict]) -> np.ndarray:
    return np.array([frame["camera_to_world"] for frame in frames]).reshape(-1, 4, 4)


@pytest.mark.parametrize(("unit", "place"), [(2.0**-10, 0 * FAR), (1.0, FAR), (2.0**13, FAR)])
def test_paths_are_written_in_the_data_and_read_in_training(unit: float, place: np.ndarray) -> None:
    world = training_world(unit * np.array([[-2.0, -2, -2], [2, 2, 2]]) + place)
    rig = replace(RIG, world=world)
    content = json.loads(json.dumps(presets.Orbit(output=Path("x.json"), frames=12).build(rig).to_json()))
    written = poses_of(content["camera_path"])
    np.testing.assert_allclose(world.points(written[:, :3, 3]), circle(RIG, 12)[:, :3, 3], atol=1e-6)
    read, guessed = to_training(content, world, EYES, MIDDLE)
    wanted = presets.Orbit(output=Path("x.json"), frames=12).build(RIG).poses
    np.testing.assert_allclose(poses_of(read["camera_path"]), wanted, atol=1e-6)
    assert not guessed
    del content["world"]  # written by hand
    read, guessed = to_training(content, world, EYES, MIDDLE)
    np.testing.assert_allclose(poses_of(read["camera_path"]), wanted, atol=1e-6)
    assert guessed
    # The viewer's paths are those of training.
    viewers = {**content, "camera_path": [{"camera_to_world": p.flatten().tolist()} for p in wanted]}
    assert to_training(viewers, world, EYES, MIDDLE) == (viewers, False)


def test_options_of_a_path_are_in_the_units_of_the_data() -> None:
    rig = replace(RIG, world=training_world(np.array([[-2.0, -2, -2], [2, 2, 2]]) / 1024 + FAR))
    orbit = presets.Orbit(output=Path("x.json"), frames=5, radius=3 / 1024, elevation=0, center=tuple(FAR))
    eyes = poses_of(orbit.build(rig).to_json()["camera_path"])[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(eyes - FAR, axis=1), 3 / 1024, rtol=1e-5)


def test_ordinary_paths_have_no_mark() -> None:
    content = presets.Orbit(output=Path("x.json"), frames=3).build(RIG).to_json()
    assert "world" not in content and to_training(content, SAME, EYES, MIDDLE) == (content, False)
