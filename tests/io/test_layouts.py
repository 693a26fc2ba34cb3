"""`dyn3d info` recognises each layout and says what is missing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.cli.main import main
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.layouts import describe
from tests.dynamic_scene_files import ToyScene


def image(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_the_shipped_scene_with_cameras_times_and_splits(shipped_scene: Path) -> None:
    found = describe(shipped_scene)
    assert "Dynamic Object" in found.layout
    assert found.facts["cameras"] == "15" and found.facts["image size"] == "200x200"
    assert found.facts["splits"].startswith("train 552, interp 138, future 210")
    assert found.facts["last observed time"] == "0.75"


def test_a_transforms_file_with_a_fault_says_it(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    frame = {"file_path": "a.png", "time": 0.5, "transform_matrix": (2 * np.eye(4)).tolist()}
    (tmp_path / "transforms_train.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": [frame]}))
    found = describe(tmp_path)
    assert found.facts["frames"] == "1" and "is not a rigid" in found.missing[0]


@pytest.mark.parametrize(
    ("files", "layout", "fact"),
    [
        (["training/final/s_1/frame_0001.png", "training/flow/x"], "Sintel", ("sequences", "s_1 (1 frames)")),
        (["JPEGImages/480p/dog/0.jpg"], "DAVIS", ("sequences", "dog (1 frames)")),
        (["images/0.png", "poses_bounds.npy", "flow/0_fwd.npz"], "Dynamic Scene", ("side files", "flow (1)")),
        (["images_4/0.png", "poses_bounds.npy"], "Dynamic Scene", ("images", "images_4 (1)")),
        (["cam00.mp4", "cam01.mp4", "poses_bounds.npy"], "N3DV", ("cameras", "2")),
        (["one.mp4", "two.mp4"], "folder of videos", ("videos", "one.mp4, two.mp4")),
        (["sparse/0/cameras.bin", "images_4/0.png"], "COLMAP", ("images", "images_4 (1)")),
        (["7.png", "8.png"], "folder of images", ("frames", "2")),
        (["rgb/0.png", "qwen/Annotations/0.png"], "processed clip", ("stages done", "masks")),
        (["note.txt"], "unknown", ("entries", "note.txt")),
        (["config.yml", "nerfstudio_models/step-9.ckpt"], "training", ("last checkpoint", "step-9.ckpt")),
    ],
)  # fmt: skip
def test_layouts(tmp_path: Path, files: list[str], layout: str, fact: tuple[str, str]) -> None:
    for name in files:
        path = tmp_path / name
        if path.suffix in (".png", ".jpg"):
            image(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = describe(tmp_path)
    assert layout in found.layout
    assert found.facts[fact[0]] == fact[1]


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    image(tmp_path / "rgb/0.png", (64, 48))
    (tmp_path / "cameras").mkdir()
    np.savez(tmp_path / "cameras/poses.npz", poses=np.eye(4)[None])
    found = describe(tmp_path)
    assert found.facts["image size"] == "64x48"
    assert "stage masks" in found.missing and "stage cameras" not in found.missing
    assert any("dynamicverse-data" in command for command in found.use)


def test_a_dynamic_scene_says_what_is_made_and_what_is_evaluated(tmp_path: Path) -> None:
    root = ToyScene().write(tmp_path / "scenes/Toy", "disp flow multiview_GT")
    (root / "transforms_train.json").write_text("{}")
    (root / "flow/003_bwd.npz").unlink()
    found = describe(root)
    assert found.layout == "Dynamic Scene (LLFF poses)"
    assert found.facts == {
        "frames": "6",
        "image size": "96x54",
        "side files": "disp (6), flow (9)",
        "views to evaluate on": "36 of 6 cameras",
    }
    assert found.missing == [
        "motion_masks of 6 frames (made in training)",
        "flow of 1 frames (made in training)",
    ]
    assert found.use == [f"ns-train dyn3d-mononerf-fast --data {root} dynamic-scene-data"]
    phone = ToyScene().write_dycheck(tmp_path / "scenes/mochi")
    assert describe(phone).facts["views to evaluate on"] == "6 of 1 cameras"
    both = describe(tmp_path / "scenes")
    assert both.facts == {"scenes": "Toy, mochi"}
    assert both.use[0].endswith("dynamic-scene-data --scenes Toy mochi")
    (root / "images/005.png").rename(root / "images/009.png")
    (root / "images/004.png").rename(root / "images/019.png")
    np.save(root / "poses_bounds.npy", ToyScene().poses_bounds()[:4])
    assert "has 4 rows" in describe(root).missing[0]


def test_commands_name_folders_as_a_shell_takes_them(tmp_path: Path) -> None:
    folder = tmp_path / "my scenes"
    for name in ("a b", "c"):
        ToyScene(frames=2).write(folder / name, "")
    for path in (folder, folder / "a b", folder / "c/images"):
        commands = describe(path).use
        assert commands
        for command in commands:
            words = shlex.split(command)
            assert any(word.startswith(str(folder)) for word in words), command
    assert shlex.split(describe(folder).use[0])[-3:] == ["--scenes", "a b", "c"]


def test_a_folder_of_datasets_points_to_them(tmp_path: Path) -> None:
    image(tmp_path / "clip/0.png")
    assert describe(tmp_path).use == [f"dyn3d info {tmp_path / 'clip'}"]


def test_broken_videos_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("no video")
    assert "cannot be read" in describe(tmp_path / "v.mp4").layout
    with pytest.raises(DatasetError, match="does not exist"):
        describe(tmp_path / "gone")


def test_the_command_prints_text_and_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    image(tmp_path / "0.png")
    assert main(["info", str(tmp_path)]) == 0
    assert "folder of images" in capsys.readouterr().out
    assert main(["info", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["frames"] == "1"
    assert main(["info", str(tmp_path / "gone")]) == 2
