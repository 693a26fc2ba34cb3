"""`dyn3d import`: a run's folder that Nerfstudio's loader, our exports and ns-render take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splat_files import angles, random_scene, write_glb, write_spz

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.import_scene import ImportScene
from dyn3d_ns.cli.import_views import FOV, orbit, room_of, up_vector
from dyn3d_ns.cli.main import main
from dyn3d_ns.cli.rig import load_method, rig_of_config
from dyn3d_ns.io.ply import read_vertices, write_splats
from dyn3d_ns.io.splat_files.opening import read_splats

UTM = np.array([448000.0, 5411000.0, 120.0])


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three frames far from the origin, in which half of the Gaussians move."""
    folder, scene = tmp_path_factory.mktemp("frames"), random_scene(60, degree=1)
    for i in range(3):
        means = scene.means.astype(np.float64) / 64 + UTM
        means[::2] += 0.02 * i
        quats = np.roll(scene.quats, i, axis=1)
        write_splats(folder / f"f_{i}.ply", means, quats, scene.scales / 16, scene.opacities, scene.sh)
    return folder


@pytest.fixture(scope="module")
def config(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config.yml of those frames, imported and moved elsewhere."""
    made = tmp_path_factory.mktemp("made")
    ImportScene(frames, output_dir=made / "out", experiment_name="tiny", fps=10, up="z").run()
    moved = made / "elsewhere"
    (made / "out/tiny/dyn3d-imported/imported").rename(moved)
    return moved / "config.yml"


def test_exports_give_back_what_was_imported(frames: Path, config: Path, tmp_path: Path) -> None:
    model = load_method(config)
    assert model.timeline.num_frames == 3 and model.timeline.fps == pytest.approx(10)
    assert model.world.scale > 1 and not model.world.same, "what is small and far is shown near and large"
    file = ["--load-config", str(config)]
    assert main(["export", "ply", *file, "--output", str(tmp_path / "ply")]) == 0
    written = sorted((tmp_path / "ply").iterdir())
    assert len(written) == 3
    for i, path in enumerate(written):
        found, given = read_vertices(path), read_vertices(frames / f"f_{i}.ply")
        assert found.dtype == given.dtype
        for name in given.dtype.names or ():
            if not name.startswith("rot_"):
                close = 1e-7 if name in "xyz" else 2e-6
                np.testing.assert_allclose(found[name], given[name], rtol=0, atol=close, err_msg=name)
        turns = [np.stack([v[f"rot_{i}"] for i in range(4)], axis=1) for v in (found, given)]
        assert angles(*turns).max() < 0.1
    assert main(["export", "trajectories", *file, "--output", str(tmp_path / "all.npz")]) == 0
    with np.load(tmp_path / "all.npz") as tracks:
        np.testing.assert_allclose(tracks["velocities"][:, ::2], 0.04, atol=1e-4)
        np.testing.assert_allclose(tracks["means"][1, 1::2], tracks["means"][0, 1::2], atol=1e-7)


def test_its_cameras_stand_around_it_and_see_it(config: Path) -> None:
    rig = rig_of_config(config)
    assert len(rig.poses) == 12 and rig.up.tolist() == [0, 0, 1] and rig.azimuths[1] == 360
    center = rig.world.points_back(rig.center[None])[0]
    np.testing.assert_allclose(center, UTM, atol=0.05)
    assert rig.fovs == pytest.approx(FOV) and 15 < rig.elevation < 25


def test_its_pictures_show_what_the_model_renders(config: Path) -> None:
    from dyn3d_ns.cli.rig import load_pipeline

    pipeline = load_pipeline(config, "test")
    camera, batch = pipeline.datamanager.fixed_indices_eval_dataloader[0]
    shown = pipeline.model.get_outputs_for_camera(camera)
    alpha = batch["image"][..., 3] / 255
    assert 0.02 < float((alpha > 0.5).float().mean()) < 0.9
    assert float((shown["accumulation"][..., 0] - alpha).abs().mean()) < 0.01
    assert {"velocity", "flow", "dynamic_mask"} <= set(shown)


def test_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spz(tmp_path / "a scene.spz", random_scene(30, degree=2))
    assert main(["import", str(path), "--output-dir", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "30 Gaussians, colours of degree 2, one instant" in said
    run = tmp_path / "out/a scene/dyn3d-imported/imported"
    assert f"ns-viewer --load-config '{run / 'config.yml'}'" in said
    assert sorted(p.name for p in run.parent.iterdir()) == ["imported"]
    assert len(load_method(run / "config.yml").scene) == 30
    assert main(["import", str(path), "--output-dir", str(tmp_path / "out")]) == 2
    assert "exists already; delete it, or choose another" in capsys.readouterr().err


def test_nothing_is_left_of_an_import_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_glb(tmp_path / "a.glb", random_scene(10, degree=0))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dyn3d_ns.cli.import_views._picture", full)
    with pytest.raises(OSError, match="No space left"):
        ImportScene(path, output_dir=tmp_path / "out").run()
    assert list((tmp_path / "out/a/dyn3d-imported").iterdir()) == []


def test_nothing_is_left_of_one_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], default_signals: None
) -> None:
    path = write_glb(tmp_path / "a.glb", random_scene(10, degree=0))

    def stop(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    monkeypatch.setattr("dyn3d_ns.cli.import_views._picture", stop)
    with pytest.raises(SystemExit) as stopped:
        ImportScene(path, output_dir=tmp_path / "out").run()
    assert stopped.value.code == 143 and "nothing of" in capsys.readouterr().err
    assert list((tmp_path / "out/a/dyn3d-imported").iterdir()) == []


def test_a_damaged_file_leaves_nothing(tmp_path: Path) -> None:
    path = write_spz(tmp_path / "a.spz", random_scene(10))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="a.spz is damaged"):
        ImportScene(path, output_dir=tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("up", "axis"), [("y", [0, 1, 0]), ("neg-y", [0, -1, 0]), ("neg-x", [-1, 0, 0])])
def test_the_orbit_goes_around_the_axis_asked_for(up: str, axis: list[float], tmp_path: Path) -> None:
    room = room_of(read_splats(write_spz(tmp_path / "a.spz", random_scene(40))).sequence)
    poses = orbit(room, up)
    np.testing.assert_array_equal(up_vector(up), axis)
    above = (poses[:, :3, 3] - room.center) @ np.array(axis)
    assert (above > 0).all() and (poses[:, :3, 1] @ np.array(axis) > 0.7).all()


def test_one_gaussian_is_a_scene(tmp_path: Path) -> None:
    scene = random_scene(1, degree=0)
    one = replace(scene, means=scene.means + np.float32(1e4))
    room = room_of(read_splats(write_glb(tmp_path / "a.glb", one)).sequence)
    assert room.radius > 0 and (np.diff(room.box, axis=0) > 0).all()


def test_a_training_of_it_is_refused_in_one_sentence() -> None:
    from dyn3d_ns.io.errors import UserError
    from dyn3d_ns.models.imported import ImportedModel

    with pytest.raises(UserError, match="dyn3d-imported is not trained: `dyn3d import FILE` makes"):
        ImportedModel.__new__(ImportedModel).plan(1)


@pytest.mark.slow
def test_ns_render_takes_it(config: Path, tmp_path: Path) -> None:
    orbit_file, film = tmp_path / "orbit.json", tmp_path / "film"
    file = str(config)
    assert main(["path", "orbit", "--load-config", file, "--output", str(orbit_file), "--frames", "3"]) == 0
    options = ["camera-path", "--load-config", file, "--camera-path-filename", str(orbit_file)]
    command = [Path(sys.executable).parent / "ns-render", *options, "--output-path", film]
    done = subprocess.run(
        [*command, "--output-format", "images"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(film.glob("*.jpg"))) == 3


def test_fps_must_be_positive(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--fps must be a number above 0, got -1"):
        ImportScene(frames, output_dir=tmp_path, fps=-1).run()
