"""What we export is read back by our readers of others' files, in the same place and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from splat_scenes import FPS, angles, swarm

from dyn3d_ns.export.glb import encode_glb
from dyn3d_ns.export.ply import encode_ply
from dyn3d_ns.export.scene import centred
from dyn3d_ns.export.spz import encode_spz
from dyn3d_ns.io.splat_files.opening import read_splats

FAR = (448000.0, 5411000.0, 120.0)


@pytest.mark.parametrize(
    ("suffix", "encode", "place", "turn"),
    [(".ply", encode_ply, 0, 1e-3), (".spz", encode_spz, 2e-4, 6e-3), (".glb", encode_glb, 0, 1e-3)],
)
def test_instants(suffix: str, encode, place: float, turn: float, tmp_path: Path) -> None:
    truth = swarm(degree=2)
    for i in range(3):
        (tmp_path / f"f{i}{suffix}").write_bytes(encode(truth.at(i), truth.about))
    file = read_splats(tmp_path, FPS)
    assert file.same_rows and file.notes == () and file.sequence.seconds == truth.seconds[:3]
    for i in range(3):
        found, wanted = file.sequence.at(i), truth.at(i)
        np.testing.assert_allclose(found.means, wanted.means, rtol=0, atol=place)
        assert angles(found.quats, wanted.quats).max() < turn
        held = wanted.sh.clip(-1, 1) if suffix == ".spz" else wanted.sh
        np.testing.assert_allclose(found.sh, held, rtol=0, atol=0.02 if suffix == ".spz" else 0)
        np.testing.assert_allclose(found.opacities, wanted.opacities, rtol=0, atol=0.002)


def test_usd_over_time(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="the extra usd: pip install -e '.[usd]'")
    from dyn3d_ns.export.usd import write_usd

    truth = swarm()
    write_usd(truth, tmp_path / "a.usdc", 1e-3)
    file = read_splats(tmp_path / "a.usdc")
    # What rests stands first in the file.
    order = np.argsort(truth.moving, kind="stable")
    np.testing.assert_allclose(file.sequence.seconds, truth.seconds, atol=1e-6)
    assert (file.sequence.about.up, file.sequence.about.fps) == ("y", FPS) and file.same_rows
    for i in range(len(truth.seconds)):
        found, wanted = file.sequence.at(i), truth.at(i)
        np.testing.assert_allclose(found.means, wanted.means[order], rtol=0, atol=2e-3)
        np.testing.assert_allclose(found.sh, wanted.sh[order], rtol=0, atol=0.025)
        np.testing.assert_allclose(found.scales, wanted.scales[order], rtol=2e-3)


@pytest.mark.parametrize("shift", [(0, 0, 0), FAR])
def test_4dgs_over_time(shift: tuple[float, float, float], tmp_path: Path) -> None:
    pytest.importorskip("fourdgs", reason="the extra 4dgs: pip install -e '.[4dgs]'")
    from dyn3d_ns.export.fourdgs import write_4dgs

    truth = swarm(shift=shift)
    write_4dgs(centred(truth), tmp_path / "a.4dgs", 4e-3)
    file = read_splats(tmp_path / "a.4dgs")
    np.testing.assert_allclose(file.sequence.seconds, truth.seconds, atol=1e-9)
    about = file.sequence.about
    assert (about.up, about.fps, about.method, about.metres_per_unit) == ("y", FPS, "dyn3d-test", 0.5)
    first = file.sequence.at(0)
    assert len(first) == len(truth.at(0)) and file.same_rows, "records that follow one another are one"
    gaps = np.linalg.norm(first.means[:, None] - truth.at(0).means, axis=-1)
    order = gaps.argmin(1)
    assert len(set(order.tolist())) == len(order)
    for i in range(len(truth.seconds)):
        found, wanted = file.sequence.at(i), truth.at(i)
        assert found.means.dtype == wanted.means.dtype
        np.testing.assert_allclose(found.means, wanted.means[order], rtol=0, atol=6e-3)
        np.testing.assert_allclose(found.opacities, wanted.opacities[order], rtol=0, atol=0.02)
        assert angles(found.quats, wanted.quats[order]).max() < 0.2


def test_a_glb_goes_back_to_where_the_scene_was(tmp_path: Path) -> None:
    truth = swarm(shift=FAR)
    near = centred(truth)
    (tmp_path / "a.glb").write_bytes(encode_glb(near.at(3), near.about))
    found = read_splats(tmp_path / "a.glb").sequence.at(0).means
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, truth.at(3).means, rtol=0, atol=1e-6)
