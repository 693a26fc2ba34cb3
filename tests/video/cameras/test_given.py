"""Cameras of other tools with a clip: their lens, their frames, their size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from dyn3d_ns.cli.main import main
from dyn3d_ns.geometry.cameras import HALF_PIXEL, shift_pixel_centers
from dyn3d_ns.geometry.lenses import Lens
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.given import cameras_from_file
from dyn3d_ns.video.cameras.settings import GivenCameras
from tests.video.cards import PILLAR, WALL, CardClip, QuietReport

FRAMES = 12


@pytest.fixture(scope="module")
def truth() -> CardClip:
    return CardClip((WALL, PILLAR), frames=FRAMES)


def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a picture without edges, by the directions that its pixels look into."""
    waves = np.stack([np.sin(9 * x), np.cos(8 * y), np.sin(6 * (x + y))], axis=-1)
    return np.rint(128 + 90 * waves).astype(np.uint8)


def bent_picture(truth: CardClip, lens: Lens) -> np.ndarray:
    """Return what a camera with a lens sees of it."""
    import cv2

    pixels = np.stack(np.meshgrid(np.arange(truth.width), np.arange(truth.height)), axis=-1).astype(
        np.float64
    )
    coefficients = np.array(lens.coefficients)
    rays = cv2.undistortPointsIter(
        pixels.reshape(-1, 1, 2), truth.K, coefficients, None, None, (3, 100, 1e-12)  # type: ignore[arg-type]
    ).reshape(truth.height, truth.width, 2)  # fmt: skip
    return smooth(rays[..., 0], rays[..., 1])


def write_model(folder: Path, truth: CardClip, cameras: list[str], names: list[str]) -> Path:
    """Write a text model; with one camera all images are of it, else each is of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text("".join(f"{k + 1} {c}\n" for k, c in enumerate(cameras)))
    rows = []
    for i, view in enumerate(np.linalg.inv(truth.poses)):
        x, y, z, w = Rotation.from_matrix(view[:3, :3]).as_quat()
        camera = i + 1 if len(cameras) > 1 else 1
        rows.append(f"{i + 1} {w} {x} {y} {z} {' '.join(map(str, view[:3, 3]))} {camera} {names[i]}\n\n")
    (folder / "images.txt").write_text("".join(reversed(rows)))
    (folder / "points3D.txt").write_text("")
    return folder


def camera(truth: CardClip, model: str, *lens: float, scale: float = 1.0) -> str:
    K = shift_pixel_centers(truth.K, HALF_PIXEL) * scale
    focal = (K[0, 0],) if model == "SIMPLE_RADIAL" else (K[0, 0], K[1, 1])
    size = f"{round(truth.width * scale)} {round(truth.height * scale)}"
    return f"{model} {size} {' '.join(map(str, (*focal, K[0, 2], K[1, 2], *lens)))}"


def frames_stage(source: Path, out: Path, *options: str) -> dict:
    """Run the stage `frames`; return what the manifest says of it."""
    main(["process", str(source), str(out), "--stages", "frames", *options])
    return json.loads((out / "manifest.json").read_text())["stages"]["frames"]


def test_a_lens_is_undone_once_in_the_frames(tmp_path: Path, truth: CardClip) -> None:
    names, source, out = [f"f{i + 1}.png" for i in range(FRAMES)], tmp_path / "in", tmp_path / "out"
    source.mkdir()
    picture = bent_picture(truth, Lens.named("SIMPLE_RADIAL", {"k": -0.25}))
    for name in names:
        Image.fromarray(picture).save(source / name)
    model = write_model(tmp_path / "model/sparse/0", truth, [camera(truth, "SIMPLE_RADIAL", -0.25)], names)
    option = "--cameras.poses", str(tmp_path / "model")

    assert frames_stage(source, out)["state"] == "done"
    assert np.array_equal(Workspace(out).image(0), picture), "nobody spoke of a lens"
    done = frames_stage(source, out, *option)
    assert done["state"] == "done" and "is undone in the frames: SIMPLE_RADIAL (k1 -0.25)" in done["notes"][1]
    workspace = Workspace(out)
    assert workspace.clip().source_names == tuple(names)
    found, notes = given(truth, out, tmp_path / "model")
    assert notes == []
    np.testing.assert_allclose(found.camera_to_worlds, truth.poses, atol=1e-6)
    K = found.Ks[0]
    assert not np.allclose(K[0, 0], truth.K[0, 0])
    columns, rows = np.meshgrid(np.arange(truth.width), np.arange(truth.height))
    straight = smooth((columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1])
    assert np.abs(workspace.image(3).astype(int) - straight).max() <= 3
    assert np.abs(picture.astype(int) - straight).max() > 40, "or the test shows nothing"

    # Other poses with the same lens need no other frames; another lens does.
    rows = (model / "images.txt").read_text().split("\n\n")
    (model / "images.txt").write_text("\n\n".join(rows[1:]))
    assert frames_stage(source, out, *option)["state"] == "kept"
    write_model(model, truth, [camera(truth, "SIMPLE_RADIAL", -0.2)], names)
    assert frames_stage(source, out, *option)["state"] == "done" and "k1 -0.2)" in workspace.clip().lens


def test_a_lens_is_not_undone_in_the_users_own_files(tmp_path: Path, truth: CardClip) -> None:
    rgb = truth.write(tmp_path / "out", "frames").rgb_dir
    (tmp_path / "out/clip.json").unlink()
    names = [path.name for path in Workspace(tmp_path / "out").frames()]
    write_model(tmp_path / "model", truth, [camera(truth, "SIMPLE_RADIAL", -0.25)], names)
    failed = frames_stage(rgb, tmp_path / "out", "--cameras.poses", str(tmp_path / "model"))
    assert failed["state"] == "failed" and "give another OUT" in failed["error"]
    assert np.array_equal(Workspace(tmp_path / "out").image(3), truth.images[3])


def given(truth: CardClip, folder: Path, path: Path, **settings) -> tuple:
    report = QuietReport()
    workspace = Workspace(folder) if folder.is_dir() else truth.write(folder, "frames")
    return cameras_from_file(workspace, report, GivenCameras(path, **settings)), report.notes


def test_each_image_keeps_its_own_intrinsics(tmp_path: Path, truth: CardClip) -> None:
    cameras = [
        camera(truth, "PINHOLE", scale=2) if i % 2 else camera(truth, "PINHOLE") for i in range(FRAMES)
    ]
    cameras[4] = cameras[4].replace(str(truth.K[0, 0]), str(2 * truth.K[0, 0]), 1)
    model = write_model(tmp_path / "model", truth, cameras, [f"f{i + 1}.jpg" for i in range(FRAMES)])
    found, notes = given(truth, tmp_path / "clip", model)
    np.testing.assert_allclose(found.camera_to_worlds, truth.poses, atol=1e-6)
    np.testing.assert_allclose(np.delete(found.Ks, 4, 0), np.tile(truth.K, (FRAMES - 1, 1, 1)))
    assert found.Ks[4, 0, 0] == pytest.approx(2 * truth.K[0, 0])
    assert any("counted from 1" in note for note in notes)
    assert any(f"are brought to the frames' {truth.width}x{truth.height}" in note for note in notes)


def test_frames_without_a_pose_get_one_from_their_neighbours(tmp_path: Path, truth: CardClip) -> None:
    names = [f"{i:05d}.png" for i in range(FRAMES)]
    model = write_model(tmp_path / "model", truth, [camera(truth, "PINHOLE")], names)
    rows = (model / "images.txt").read_text().split("\n\n")
    (model / "images.txt").write_text("\n\n".join(row for row in rows if "00005" not in row))
    found, notes = given(truth, tmp_path / "clip", model)
    assert found.registered.tolist() == [i != 5 for i in range(FRAMES)]
    between = (truth.poses[4, :3, 3] + truth.poses[6, :3, 3]) / 2
    np.testing.assert_allclose(found.camera_to_worlds[5, :3, 3], between, atol=1e-6)
    np.testing.assert_allclose(found.camera_to_worlds[6], truth.poses[6], atol=1e-6)
    assert notes == [
        "1 of 12 frames have none of the poses (frame 5): theirs are found from the frames before and after"
    ]


def test_a_lens_and_a_focal_length_from_elsewhere_do_not_go_together(tmp_path: Path, truth: CardClip) -> None:
    names = [f"{i:05d}.png" for i in range(FRAMES)]
    model = write_model(tmp_path / "model", truth, [camera(truth, "SIMPLE_RADIAL", -0.25)], names)
    with pytest.raises(StageError, match=r"has a lens, .* leave out --cameras\.focal"):
        given(truth, tmp_path / "clip", model, focal=100.0)
    with pytest.raises(StageError, match=r"has SIMPLE_RADIAL .* no lens is undone; run the stage frames too"):
        given(truth, tmp_path / "clip", model)
    # What moves no pixel by a tenth is no lens.
    write_model(model, truth, [camera(truth, "SIMPLE_RADIAL", -1e-4)], names)
    found, _ = given(truth, tmp_path / "clip", model)
    np.testing.assert_allclose(found.Ks[0], truth.K)
