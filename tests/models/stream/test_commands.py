"""A stream that Nerfstudio's commands made, through all of them and through ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from dyn3d_ns.io.ply import read_vertices
from dyn3d_ns.io.stream.look import start_camera_of
from dyn3d_ns.io.stream.reader import StreamReader
from tests.recording_files import Rig, write_camera_folders

BIN = Path(sys.executable).parent
FRAMES = 3
pytestmark = [pytest.mark.slow, pytest.mark.long]


def run(*command: object) -> str:
    done = subprocess.run(
        [str(BIN / str(command[0])), *map(str, command[1:])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on a tiny recording for a moment."""
    folder = tmp_path_factory.mktemp("stream")
    names = ("cam00", "cam01", "cam02", "cam03")
    data = write_camera_folders(folder / "data", Rig(names=names, frames=FRAMES))
    run(
        *(
            "ns-train",
            "dyn3d-stream-splat-fast",
            "--data",
            data,
            "--output-dir",
            folder,
            "--vis",
            "tensorboard",
        ),
        *("--pipeline.model.stream.first-steps", 20, "--pipeline.model.motion-steps", 2),
        *("--pipeline.model.residual-steps", 2, "--pipeline.model.max-gaussians", 500),
        *("n3dv-data", "--cache-dir", folder / "cache"),
    )
    (found,) = folder.rglob("config.yml")
    return found


def test_the_stream_names_its_first_camera(config: Path) -> None:
    reader = StreamReader(config.parent / "stream")
    assert reader.num_frames() == FRAMES
    camera = start_camera_of(reader.header)
    assert camera is not None and camera.width > camera.height


def test_evaluation_is_of_every_frame_of_the_held_out_camera(config: Path) -> None:
    run("ns-eval", "--load-config", config, "--output-path", config.parent / "metrics.json")
    found = json.loads((config.parent / "metrics.json").read_text())["results"]
    assert found["interp_images"] == found["stream_frames"] == FRAMES
    assert [image["source"] for image in found["per_frame"]] == ["cam00"] * FRAMES
    assert found["bytes_per_frame"] > found["bytes_per_later_frame"] > 0


def test_a_camera_path_is_rendered_at_its_times(config: Path) -> None:
    path, video = config.parent / "orbit.json", config.parent / "orbit.mp4"
    run(
        "dyn3d",
        "path",
        "orbit",
        "--load-config",
        config,
        "--output",
        path,
        "--frames",
        6,
        "--resolution",
        64,
        48,
    )
    run(
        "ns-render",
        "camera-path",
        "--load-config",
        config,
        "--camera-path-filename",
        path,
        "--output-path",
        video,
    )
    assert video.stat().st_size > 0


def test_a_dataset_is_rendered(config: Path) -> None:
    out = config.parent / "renders"
    run("ns-render", "dataset", "--load-config", config, "--split", "test", "--output-path", out)
    assert len(list(out.rglob("test/rgb/*"))) == FRAMES


def test_the_stream_plays_as_a_page(config: Path) -> None:
    page = config.parent / "page.html"
    said = run("dyn3d", "export", "web", "--load-config", config, "--output", page)
    header = json.loads(page.read_text().split('id="scene-header">')[1].split("</script>")[0])
    assert len(header["motion"]["seconds"]) == FRAMES and len(header["cameras"]) == 3
    assert f"{header['count']} Gaussians, {header['moving']} of them moving" in said


def test_the_stream_is_exported_in_motion(config: Path) -> None:
    out = config.parent / "exported"
    for kind, name in (("usd", "a.usdc"), ("4dgs", "a.4dgs"), ("ply", "ply")):
        said = run("dyn3d", "export", kind, "--load-config", config, "--output", out / name, "--up", "data")
        assert f"Gaussians at {FRAMES} times" in said
    fourdgs = pytest.importorskip("fourdgs", reason="needs the extra `4dgs`")
    read = fourdgs.read(out / "a.4dgs")
    for frame in range(FRAMES):
        rows = read_vertices(out / "ply" / f"frame_{frame:05d}.ply")
        places = np.stack([rows[axis] for axis in "xyz"], axis=1)
        found = read.state_at(frame * read.duration_sec / FRAMES + 1e-6)["centers"]
        assert len(found) == len(places)
        bound = float(read.header.attributes["max_error"])
        assert KDTree(places).query(found)[0].max() <= bound


def test_frames_are_baked(config: Path) -> None:
    said = run("dyn3d", "stream", "bake", config, "--output-dir", config.parent / "splats", "--every", 2)
    assert "2 files" in said and (config.parent / "splats/frame_00002.ply").is_file()
