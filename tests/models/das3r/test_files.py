"""A trained scene in the files of DAS3R's published code, read back and rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.cli import das3r
from dyn3d_ns.cli.main import main
from dyn3d_ns.dataparsers.video import VideoDataParserConfig
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.io.das3r_ply import read_das3r_ply
from dyn3d_ns.rendering import rasterize
from tests.video.cards import CardClip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("das3r")
    CardClip(frames=8, width=64, height=48).write(folder / "clip", "frames cameras depth masks")
    return das3r.train(
        VideoDataParserConfig(data=folder / "clip"), folder / "trainings", "dyn3d-das3r-fast", 40, 0
    )


def test_the_files_hold_the_scene_and_its_cameras(config: Path, tmp_path: Path) -> None:
    assert main(["export", "das3r", "--load-config", str(config), "--output-dir", str(tmp_path)]) == 0
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert written == [
        "point_cloud/iteration_40/point_cloud.ply", "pose/pose_40.npy", "pose/pose_org.npy",
    ]  # fmt: skip
    model = das3r.load_scene(config).model
    before, after = (np.load(tmp_path / f"pose/pose_{name}.npy") for name in ("org", "40"))
    assert before.shape == after.shape == (7, 4, 4)
    # The training has turned, shifted and scaled the clip's world; the files are in the clip's own.
    world, zoom = model.world, np.diag([*3 * [model.world.scale], 1.0])
    assert world.scale != 1 and abs(world.transform[0, 1]) + abs(world.transform[1, 2]) > 0.1
    for found, views in (
        (after[3], model.view_of(3).viewmats[0]),
        (before, viewmats_of(model.views.camera_to_worlds)),
    ):
        expected = np.linalg.inv(zoom) @ views.double().numpy() @ zoom @ world.transform
        np.testing.assert_allclose(found, expected, atol=1e-5)

    # World to camera, OpenCV axes, in the world of the Gaussians: the file renders as the model does.
    splats = read_das3r_ply(tmp_path / written[0])
    view = model.view_of(3)
    arrays = (splats.means, splats.quats, splats.scales, splats.shown, splats.sh)
    render, alpha, _ = rasterize(
        *(torch.from_numpy(array) for array in arrays),
        torch.from_numpy(after[3:4]),
        view.Ks,
        view.width,
        view.height,
        sh_degree=model.config.sh_degree,
        near_plane=model.config.camera_near,
    )
    shown = (render[0] + (1 - alpha[0]) * model.eval_background).clamp(0, 1)
    model.config.shadows = False
    np.testing.assert_allclose(shown.numpy(), model.render_view(3).numpy(), atol=2e-3)


def test_a_training_of_another_method_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml
    from nerfstudio.configs.method_configs import all_methods

    other = tmp_path / "config.yml"
    other.write_text(yaml.dump(all_methods["dyn3d-velocity-fast"]))
    out = str(tmp_path / "out")
    assert main(["export", "das3r", "--load-config", str(other), "--output-dir", out]) == 2
    assert "is not of dyn3d-das3r" in capsys.readouterr().err
