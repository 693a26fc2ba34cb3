"""`ns-render` and `dyn3d path` on a training of two scenes: whose cameras, whose background."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.rig import rig_of_config
from tests.mononerf_runs import config_of, trained, write_two_scenes

BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on both scenes."""
    folder = tmp_path_factory.mktemp("render")
    return trained(config_of(write_two_scenes(folder / "scenes"), folder / "out", scenes=("A", "B")))


def render(what: str, config: Path, output: Path, *options: str) -> str:
    command = ["ns-render", what, "--load-config", config, "--output-path", output, *options]
    done = subprocess.run(
        [str(BIN / command[0]), *map(str, command[1:])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def images(folder: Path) -> dict[str, np.ndarray]:
    found = {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path), dtype=np.float32)
        for path in sorted(folder.rglob("*.png")) + sorted(folder.rglob("*.jpg"))
    }
    assert found
    return found


def test_images_of_a_dataset_are_shown_before_another_background(both: Path, tmp_path: Path) -> None:
    names = ("--split", "train", "--rendered-output-names", "rgb", "dynamic")
    render("dataset", both, tmp_path / "own", *names, "--image-format", "png")
    render("dataset", both, tmp_path / "other", *names, "--image-format", "png", "--edit.background-scene=B")
    for name in ("rgb", "dynamic"):
        own, other = (images(tmp_path / run / "train" / name) for run in ("own", "other"))
        assert list(own) == list(other) and len(own) == 9
        sizes = {image.shape[:2] for image in own.values()}
        assert sizes == {(24, 40), (20, 32)}
        for path, image in own.items():
            changes = float(np.abs(image - other[path]).mean())
            if name == "dynamic":  # sampled elsewhere along the ray, by what lies behind
                assert changes < 0.5, (path, changes)
            elif image.shape[0] == 20:  # of B, whose own background it is
                assert changes == 0, (path, changes)
            else:
                assert changes > 1, (path, changes)


def test_a_path_shows_the_scene_that_is_asked_for(both: Path, tmp_path: Path) -> None:
    options = ("--pose-source", "train", "--interpolation-steps", "2", "--output-format", "images")
    said = render("interpolate", both, tmp_path / "first", *options)
    assert "Shown is the scene A of A, B" in said
    assert len(images(tmp_path / "first")) == 2 * (5 - 1)
    said = render("interpolate", both, tmp_path / "b", *options, "--edit.scene", "B")
    assert "--edit.scene chooses another" not in said
    assert len(images(tmp_path / "b")) == 2 * (4 - 1)
    assert {image.shape[:2] for image in images(tmp_path / "b").values()} == {(20, 32)}

    path = tmp_path / "path.json"
    dyn3d = [BIN / "dyn3d", "path", "camera", "--load-config", both, "--scene", "B", "--frames", "2"]
    command = [*map(str, dyn3d), "--output", str(path)]
    assert "--edit.scene B" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = {}
    for scene in ("A", "B"):
        options = ("--camera-path-filename", str(path), "--output-format", "images", "--edit.scene", scene)
        render("camera-path", both, tmp_path / scene, *options)
        shown[scene] = list(images(tmp_path / scene).values())
    assert len(shown["A"]) == 2
    assert np.abs(shown["A"][0] - shown["B"][0]).mean() > 1


def test_an_unknown_scene_is_named(both: Path, tmp_path: Path) -> None:
    command = [str(BIN / "ns-render"), "interpolate", "--load-config", str(both), "--edit.scene", "C"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("Error: no scene is called C; the training has A, B")


def test_a_method_of_one_scene_has_no_background_to_exchange(tiny_scene: Path, tmp_path: Path) -> None:
    command = [
        *(BIN / "ns-train", "dyn3d-velocity-fast", "--data", tiny_scene, "--output-dir", tmp_path),
        *("--max-num-iterations", "2", "--vis", "tensorboard", "--pipeline.model.max-gaussians", "500"),
    ]
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    (config,) = tmp_path.rglob("config.yml")
    command = [BIN / "ns-render", "dataset", "--load-config", config, "--edit.background-scene", "B"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "learns one scene, and has no background to exchange" in done.stderr


def test_the_cameras_of_a_path_are_those_of_one_scene(both: Path) -> None:
    first, other = rig_of_config(both), rig_of_config(both, "B")
    assert (len(first.poses), first.resolution) == (5, (40, 24))
    assert (len(other.poses), other.resolution) == (4, (32, 20))
    assert other.camera_ids.tolist() == [0, 1, 2, 3]
    with pytest.raises(CommandError, match="no scene is called C; there is A, B"):
        rig_of_config(both, "C")
