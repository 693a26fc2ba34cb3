"""`scripts/benchmarks/make_pond.py`: velocities are those of the surfaces, and pictures show these."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from trimesh import Trimesh
from trimesh.proximity import closest_point

from dyn3d_ns.io.motion_truth import MotionGroundTruth, load_motion_ground_truth, sample_surfaces

FOLDER = Path(__file__).resolve().parents[1] / "scripts/benchmarks"
SMALL = {"cameras": 3, "frames": 4, "held_out": (1,), "observed": 0.5, "size": 40, "every": 1}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import make_pond  # pyright: ignore[reportMissingImports]

        return make_pond


@pytest.fixture(scope="module")
def scene(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pond") / "scene"
    script.main(script.Args(folder, **SMALL))
    return folder


@pytest.fixture(scope="module")
def truth(scene: Path) -> MotionGroundTruth:
    return load_motion_ground_truth(scene / "ground_truth/motion.json")


def test_velocities_are_those_of_the_vertices(script: ModuleType) -> None:
    step = 1e-5
    for body in script.pond(3, 1.4, 1.6):
        vertices, velocities = body.place(0.3)
        differences = (body.place(0.3 + step)[0] - body.place(0.3 - step)[0]) / (2 * step)
        np.testing.assert_allclose(velocities, differences, atol=1e-6, err_msg=body.name)
        if body.bend is None:
            twist = body.frame(0.3)[1]
            np.testing.assert_allclose(vertices @ twist[:3, :3].T + twist[:3, 3], velocities, atol=1e-9)
        a, b, c = vertices[body.faces].swapaxes(0, 1)
        assert (a * np.cross(b, c)).sum() > 0, f"{body.name} is lit from within"


def test_a_stroke_is_a_beat(script: ModuleType) -> None:
    """After a beat the fish is as it was in its frame, and so is a wing in the body's, but not after half."""
    fish, body, *wings = script.pond(0, 2.0, 4.0)[:4]
    shapes = []
    for t in (0.1, 0.35, 0.6):
        back = np.linalg.inv(fish.frame(t)[0])
        shapes.append(fish.place(t)[0] @ back[:3, :3].T + back[:3, 3])
    np.testing.assert_allclose(shapes[0], shapes[2], atol=1e-9)
    assert np.abs(shapes[0] - shapes[1]).max() > 0.1
    for wing in wings:
        seen = [np.linalg.inv(body.frame(t)[0]) @ wing.frame(t)[0] for t in (0.1, 0.225, 0.35)]
        np.testing.assert_allclose(seen[0], seen[2], atol=1e-9)
        assert np.abs(seen[0] - seen[1]).max() > 0.2


def test_depth_and_ids_show_the_surfaces(script: ModuleType, scene: Path, truth: MotionGroundTruth) -> None:
    """Every point that a held-out camera sees lies on the mesh of its object, as it is at that time."""
    bodies = script.pond(0, 1.4, 1.6)
    samples = sample_surfaces(truth)
    assert {s.time for s in samples} == {0.0, 0.25, 0.5, 0.75}
    seen = set()
    for s in samples:
        for i in np.unique(s.labels):
            body = bodies[i - 1]
            points, (vertices, _) = s.points[s.labels == i], body.place(s.time)
            away = closest_point(Trimesh(vertices, body.faces, process=False), points)[1]
            assert away.max() < 3e-3, body.name  # float16 rounds depths of 4 to 2e-3
            seen.add(body.name)
    assert {"fish", "bird_body", "rock", "reed"} <= seen
    assert [o.name for o in truth.objects if o.mesh is not None] == ["fish"]
    assert [o.name for o in truth.objects if not o.moves] == ["rock", "reed"]


def test_pictures_are_smooth_at_edges_and_lie_in_their_splits(scene: Path) -> None:
    entries = {
        name: json.loads((scene / f"transforms_{name}.json").read_text())["frames"]
        for name in ("train", "val", "test")
    }
    assert [len(entries[name]) for name in ("train", "val", "test")] == [6, 3, 3]
    assert {e["time"] for e in entries["test"]} == {0.75}
    with Image.open(scene / "val/c01_f000.png") as image:
        rgba = np.asarray(image)
    with Image.open(scene / "ground_truth/object_id/c01_f000.png") as image:
        labels = np.asarray(image)
    alpha = rgba[..., 3]
    assert rgba.shape == (40, 40, 4) and (alpha[labels > 0] > 0).all()
    assert {0, 255} < set(np.unique(alpha)) <= {round(255 * k / 9) for k in range(10)}
    assert len(np.unique(rgba[alpha == 255], axis=0)) > 50


def test_the_seed_settles_everything(script: ModuleType, scene: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        script.main(script.Args(tmp_path / str(seed), seed=seed, **{**SMALL, "frames": 1}))
    picture = "train/c00_f000.png"
    assert (tmp_path / "0" / picture).read_bytes() == (scene / picture).read_bytes()
    assert (tmp_path / "1" / picture).read_bytes() != (scene / picture).read_bytes()
    with pytest.raises(SystemExit, match="is not empty; name a new folder"):
        script.main(script.Args(tmp_path / "0", **SMALL))
