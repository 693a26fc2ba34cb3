"""What Nerfstudio's commands are refused before a scene is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dyn3d_ns.engine.command_checks import check, value_of
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.io.errors import UserError


class OfRays(DynamicMethod):
    """A method that renders rays."""

    renders_stereo = True


class OfGaussians(DynamicMethod):
    """A method of Gaussians."""

    has_gaussians = True


@pytest.mark.parametrize(
    ("command", "method", "said"),
    [
        ("ns-render spiral", OfRays, "`dyn3d path spiral --load-config 'a b.yml' --output spiral.json`"),
        ("ns-render interpolate --output-path x", OfRays, "--output-path must end in .mp4 or .*, got x"),
        ("ns-render interpolate --render_nearest_camera=True", OfRays, "--render-nearest-camera asks single"),
        ("ns-render dataset --rendered-output-names rgb rgba", OfRays, "rgba .* give --image-format png"),
        ("ns-render dataset --output-path file", OfRays, "cannot write to file"),
        (
            "ns-export pointcloud --output-dir o",
            OfGaussians,
            "`ns-export pointcloud` fuses.*dyn3d export ply",
        ),
        ("ns-export tsdf --output-dir o", OfRays, "`ns-export tsdf` fuses .*`ns-render dataset"),
        ("ns-export gaussian-splat --output-dir o", OfRays, "OfRays has none"),
        ("ns-export gaussian-splat --output-dir file/o", OfGaussians, "cannot write to file/o"),
        ("ns-eval --output-path e.txt", OfRays, "--output-path must end in .json, got e.txt"),
        ("ns-eval --render-output-path file", OfRays, "cannot write to file .*--render-output-path"),
    ],
)
def test_what_cannot_succeed_is_one_sentence(
    command: str, method: type[DynamicMethod], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a file where a folder is needed")
    program, *arguments = command.split()
    with pytest.raises(UserError, match=said):
        check(program, [*arguments, "--load-config", "a b.yml"], method)


@pytest.mark.parametrize(
    "command",
    [
        "ns-render interpolate --output-path x.mp4",
        "ns-render interpolate --output-path x --output-format images --image-format png",
        "ns-render dataset --rendered-output-names rgba --image-format png --output-path x",
        "ns-export cameras --output-dir o",
        "ns-eval --output-path deep/e.json",
        "ns-viewer",
        "pytest spiral",
    ],
)
def test_what_works_is_let_through(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = command.split()
    check(program, ["--load-config", "c.yml", *arguments] if program == "pytest" else arguments, OfRays)


CAMERA = {"camera_to_world": [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "fov": 50, "render_time": 0}
PATH = {"seconds": 1, "render_height": 48, "render_width": 64, "camera_path": [CAMERA, CAMERA]}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in CAMERA.items() if name != key}


@pytest.mark.parametrize(
    ("changes", "method", "said"),
    [
        (
            {"camera_type": "omnidirectional"},
            OfGaussians,
            "fisheye, equirectangular, vr180$",
        ),
        (
            {"camera_type": "Equirectangular"},
            OfRays,
            "is 'Equirectangular'; OfRays renders",
        ),
        ({"camera_path": [CAMERA, CAMERA | {"camera_type": "fisheye"}]}, OfRays, "camera 1 .* of its own"),
        ({"camera_path": []}, OfRays, "list of cameras, and holds none"),
        ({"camera_path": [without("camera_to_world")]}, OfRays, "camera 0 .* 16 finite numbers"),
        ({"camera_path": [without("fov")]}, OfRays, "fov between 0 and 180 degrees, and has None"),
        ({"camera_path": [CAMERA, without("render_time")]}, OfRays, "camera 1 .* no render_time, though"),
        ({"render_width": 64.5}, OfRays, "render_width must be a whole number"),
        ({"seconds": float("nan")}, OfRays, "seconds must be a positive number"),
        ({"crop": {}}, OfRays, "crops the scene, which OfRays does not"),
    ],
)
def test_a_camera_path_that_asks_for_what_there_is_not_is_refused(
    changes: dict[str, Any], method: type[DynamicMethod], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "path.json"
    path.write_text(json.dumps(PATH | changes))
    arguments = ["camera-path", "--camera-path-filename", str(path), "--output-path", str(tmp_path / "o.mp4")]
    with pytest.raises(UserError, match=said):
        check("ns-render", arguments, method)


def test_a_camera_path_without_times_is_said_to_show_time_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "path.json"
    arguments = ["camera-path", f"--camera-path-filename={path}", "--output-path", str(tmp_path / "o.mp4")]
    for cameras, said in (([CAMERA], ""), ([without("render_time")], "they show the scene at time 0.")):
        path.write_text(json.dumps(PATH | {"camera_type": "fisheye", "camera_path": cameras}))
        check("ns-render", arguments, OfGaussians)
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "value"),
    [("", None), ("--load-config a --other b", "a"), ("--load_config=c", "c"), ("x --load-config", "")],
)
def test_an_option_is_found_however_it_is_written(words: str, value: str | None) -> None:
    assert value_of("--load-config", words.split()) == value
