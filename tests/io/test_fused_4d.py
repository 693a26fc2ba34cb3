"""Fused scenes: ours, DynamicVerse's arrays of arrays, and files that want to run code."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.fused_4d import FusedScene, read_fused, write_fused


def small_scene(frames: int = 3) -> FusedScene:
    rng = np.random.default_rng(0)
    return FusedScene(
        static_points=rng.normal(size=(5, 3)),
        static_rgbs=rng.integers(0, 255, (5, 3), dtype=np.uint8),
        dyn_points=rng.normal(size=(4, 3)),
        dyn_rgbs=rng.integers(0, 255, (4, 3), dtype=np.uint8),
        dyn_offsets=np.array([0, 1, 1, 4]),
        dyn_instances=np.array([1, 1, 2, 2], np.int32),
        c2w=np.tile(np.eye(4), (frames, 1, 1)),
        Ks=np.tile(np.eye(3), (frames, 1, 1)),
        traj=rng.normal(size=(2, frames, 3)).astype(np.float32),
        traj_vis=np.ones((2, frames), bool),
        traj_instance=np.array([0, 1], np.int32),
        instance_colors=np.zeros((3, 3), np.uint8),
    )


def dynamicverse_arrays(**changes) -> dict[str, np.ndarray]:
    """Return the arrays that DynamicVerse writes: moving points as one array of arrays."""
    rng = np.random.default_rng(1)
    lengths = (2, 0, 3)
    points, colors = np.empty(3, object), np.empty(3, object)
    for i, n in enumerate(lengths):
        points[i], colors[i] = rng.normal(size=(n, 3)), rng.uniform(0, 255, (n, 3))
    values = {
        "static_points": rng.normal(size=(4, 3)),
        "static_rgbs": rng.uniform(0, 255, (4, 3)),
        "dyn_points": points,
        "dyn_rgbs": colors,
        "c2w": np.tile(np.eye(4), (3, 1, 1)),
        "rgbs": np.zeros((3, 4, 5, 3), np.uint8),
        "Ks": np.tile(np.eye(3), (3, 1, 1)),
    }
    return {**values, **changes}


def test_round_trip_without_pickles(tmp_path: Path) -> None:
    scene = small_scene()
    write_fused(tmp_path / "fused_4d.npz", scene)
    back = read_fused(tmp_path / "fused_4d.npz")
    for item in fields(FusedScene):
        assert np.array_equal(getattr(back, item.name), getattr(scene, item.name)), item.name
    with np.load(tmp_path / "fused_4d.npz", allow_pickle=False) as content:
        assert content["static_points"].dtype == np.float64
    points, _, instances = back.moving(2)
    assert np.array_equal(points, scene.dyn_points[1:])
    assert instances.tolist() == [1, 2, 2]
    assert len(back.moving(1)[0]) == 0


def test_arrays_of_arrays_are_read(tmp_path: Path) -> None:
    arrays = dynamicverse_arrays()
    np.savez_compressed(tmp_path / "f.npz", **arrays)
    scene = read_fused(tmp_path / "f.npz")
    assert scene.dyn_offsets.tolist() == [0, 2, 2, 5]
    assert np.allclose(scene.moving(2)[0], arrays["dyn_points"][2])
    assert np.array_equal(scene.moving(0)[1], np.rint(arrays["dyn_rgbs"][0]).astype(np.uint8))
    assert scene.traj.shape == (0, 3, 3)


class Harmful:
    """What a pickle can do."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_pickles_that_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = np.empty(3, object)
    points[:] = [Harmful(), Harmful(), Harmful()]
    np.savez("f.npz", **dynamicverse_arrays(dyn_points=points))
    with pytest.raises(DamagedFileError, match="refers to .*system"):
        read_fused(Path("f.npz"))
    assert not Path("harmed").exists()


def test_pickles_of_other_things_are_refused(tmp_path: Path) -> None:
    words = np.array(["a", None, 3], dtype=object)
    np.savez(tmp_path / "f.npz", **dynamicverse_arrays(dyn_points=words))
    with pytest.raises(DamagedFileError, match="no array of arrays"):
        read_fused(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dyn_offsets": np.array([0, 1, 4])}, "do not fit"),
        ({"dyn_offsets": np.array([0, 3, 1, 4])}, "do not fit"),
        ({"static_rgbs": np.zeros((4, 3))}, "do not fit"),
        ({"traj_vis": np.ones((2, 5), bool)}, "do not fit"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    values = {item.name: getattr(small_scene(), item.name) for item in fields(FusedScene)}
    np.savez(tmp_path / "f.npz", **{**values, **changes})
    with pytest.raises(DamagedFileError, match=message):
        read_fused(tmp_path / "f.npz")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="run the stage `fuse`"):
        read_fused(tmp_path / "f.npz")
    write_fused(tmp_path / "f.npz", small_scene())
    whole = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="not a readable"):
        read_fused(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", static_points=np.zeros((1, 3)))
    with pytest.raises(DamagedFileError, match="lacks static_rgbs, dyn_points"):
        read_fused(tmp_path / "f.npz")
