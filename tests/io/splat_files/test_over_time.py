"""Files that hold time: USD with its samples, and .4dgs, whose records are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from splat_files import angles, random_scene

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.splat_files.opening import read_splats

SH = "radiance:sphericalHarmonicsCoefficients"
SCENE = random_scene(12)


def stage_of(path: Path, half: bool = False) -> tuple[Any, Any]:
    """Start a stage with a prim of Gaussians whose places are sampled at three time codes."""
    pytest.importorskip("pxr", reason="the extra usd: pip install -e '.[usd]'")
    from pxr import Gf, Usd, UsdGeom, Vt

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, "Z")
    UsdGeom.SetStageMetersPerUnit(stage, 0.5)
    stage.SetTimeCodesPerSecond(24)
    UsdGeom.Xform.Define(stage, "/world")
    prim = stage.DefinePrim("/world/splats", "ParticleField3DGaussianSplat")
    ending, kind = ("h", np.float16) if half else ("", np.float32)
    vectors, numbers = (Vt.Vec3hArray, Vt.HalfArray) if half else (Vt.Vec3fArray, Vt.FloatArray)
    # Written one by one, w first, as no array is: rows of arrays are taken as x, y, z, w (usd-core 26.11).
    quats = [(Gf.Quath if half else Gf.Quatf)(*map(float, quat)) for quat in SCENE.quats]

    def put(name: str, value: Any, *time: float) -> None:
        prim.GetAttribute(name + ending).Set(value, *time)

    for code in (1, 2, 5):
        put("positions", vectors.FromNumpy((SCENE.means + 0.1 * code).astype(kind)), code)
    put("orientations", (Vt.QuathArray if half else Vt.QuatfArray)(quats))
    put("scales", vectors.FromNumpy(SCENE.scales.astype(kind)))
    put("opacities", numbers.FromNumpy(SCENE.opacities.astype(kind)))
    put(SH, vectors.FromNumpy(SCENE.sh.reshape(-1, 3).astype(kind)))
    prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(3)
    return stage, prim


@pytest.mark.parametrize("half", [False, True])
def test_usd_with_its_time_samples(half: bool, tmp_path: Path) -> None:
    stage, _ = stage_of(tmp_path / "a.usdc", half)
    stage.Save()
    file = read_splats(tmp_path / "a.usdc")
    about = file.sequence.about
    np.testing.assert_allclose(file.sequence.seconds, np.arange(5) / 24)
    assert (about.up, about.metres_per_unit, about.fps) == ("z", 0.5, 24) and file.same_rows
    close = 2e-3 if half else 1e-6
    for i, code in enumerate(range(1, 6)):
        found = file.sequence.at(i)
        np.testing.assert_allclose(found.means, SCENE.means + np.float32(0.1 * code), atol=close)
        assert angles(found.quats, SCENE.quats).max() < 0.2
        np.testing.assert_allclose(found.sh, SCENE.sh, atol=close)
        np.testing.assert_allclose(found.opacities, SCENE.opacities, atol=close)
    assert file.notes == () and file.sequence.moving.all()
    assert read_splats(tmp_path / "a.usdc", fps=10).notes[0].startswith("--fps is not used")


def test_usd_hangs_its_gaussians_where_its_transforms_say(tmp_path: Path) -> None:
    stage, _ = stage_of(tmp_path / "a.usda")
    from pxr import Gf, UsdGeom

    above = UsdGeom.Xformable(stage.GetPrimAtPath("/world"))
    above.AddTranslateOp().Set(Gf.Vec3d(1, 2, 3))
    above.AddRotateZOp().Set(180)
    stage.Save()
    found = read_splats(tmp_path / "a.usda").sequence.at(0)
    np.testing.assert_allclose(
        found.means, (SCENE.means + np.float32(0.1)) * [-1, -1, 1] + [1, 2, 3], atol=1e-5
    )
    signs = [1, *(-1, 1, -1), *(1, -1, 1, -1, 1), *(-1, 1, -1, 1, -1, 1, -1)]
    np.testing.assert_allclose(found.sh, SCENE.sh * np.reshape(signs, (16, 1)), atol=1e-5)
    above.AddScaleOp().Set(Gf.Vec3f(1, 2, 1))
    stage.Save()
    with pytest.raises(DamagedFileError, match="/world/splats is stretched or sheared"):
        read_splats(tmp_path / "a.usda")


def test_a_usd_that_states_another_degree_than_it_holds(tmp_path: Path) -> None:
    """usd-convert-gsplat 0.1.15 calls 25 coefficients degree 3."""
    stage, prim = stage_of(tmp_path / "a.usda")
    from pxr import Vt

    more = np.concatenate([SCENE.sh, np.ones((12, 9, 3), np.float32)], axis=1)
    prim.GetAttribute(SH).Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(more.reshape(-1, 3))))
    stage.Save()
    file = read_splats(tmp_path / "a.usda")
    np.testing.assert_array_equal(file.sequence.at(0).sh, SCENE.sh)
    assert "degree 3 is stated, but there are coefficients of degree 4" in file.notes[0]


def test_a_usd_prim_that_hides_is_held_and_transparent(tmp_path: Path) -> None:
    stage, prim = stage_of(tmp_path / "a.usda")
    for code, token in ((1, "inherited"), (3, "invisible")):
        prim.GetAttribute("visibility").Set(token, code)
    stage.Save()
    file = read_splats(tmp_path / "a.usda")
    shown = [float(file.sequence.at(i).opacities.max()) > 0 for i in range(5)]
    assert shown == [True, True, False, False, False] and not file.same_rows


def test_usd_without_gaussians(tmp_path: Path) -> None:
    stage, prim = stage_of(tmp_path / "a.usda")
    stage.RemovePrim(prim.GetPath())
    stage.Save()
    with pytest.raises(DamagedFileError, match="holds no prim of the type ParticleField3DGaussianSplat"):
        read_splats(tmp_path / "a.usda")
    (tmp_path / "b.usdc").write_bytes((tmp_path / "a.usda").read_bytes())
    with pytest.raises(DamagedFileError, match="cannot be read as USD"):
        read_splats(tmp_path / "b.usdc")


FRAMES, RATE = 6, 10.0


def write_4dgs(path: Path, matched: bool = True) -> np.ndarray:
    """Write four Gaussians that rest and eight that move, one record for each way from frame to frame.

    Returns:
        Where each is at each frame.
    """
    fourdgs = pytest.importorskip("fourdgs", reason="the extra 4dgs: pip install -e '.[4dgs]'")
    turns = np.random.default_rng(3).normal(size=(12, 3)) * (np.arange(12) >= 4)[:, None]
    places = np.stack([SCENE.means + np.sin(0.2 * i) * turns for i in range(FRAMES)])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("who", "at", "speed", "lo", "hi")}
    rest, moving = np.arange(4), np.arange(4, 12)
    for who, first, last in [(rest, 0, FRAMES), *((moving, i, i + 1) for i in range(FRAMES))]:
        end = min(last, FRAMES - 1)
        away = 0 if matched else 50 * first
        columns["who"].append(who)
        columns["at"].append(places[first][who] + away)
        columns["speed"].append(RATE * (places[end] - places[first])[who] / max(end - first, 1))
        columns["lo"].append(np.full(len(who), first / RATE))
        columns["hi"].append(np.full(len(who), last / RATE))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    who, count = joined["who"], len(joined["who"])
    colours = np.clip(0.5 + 0.28209479 * SCENE.sh[who, 0], 0, 1)
    coefficients = SCENE.sh[who, 1:4].transpose(0, 2, 1).reshape(count, 9)
    gaussians = fourdgs.GaussianSet(
        positions=joined["at"].astype(np.float32),
        scales=SCENE.scales[who],
        rotations=SCENE.quats[who][:, [1, 2, 3, 0]],
        colors=np.concatenate([colours, SCENE.opacities[who, None]], axis=1).astype(np.float32),
        motions=joined["speed"].astype(np.float32),
        mu_t=joined["lo"].astype(np.float32),
        sigma_t=np.full(count, np.inf, np.float32),
        win_lo=joined["lo"],
        win_hi=joined["hi"],
        sh=np.rint((coefficients + 4) / 8 * 255).astype(np.uint8),
        sh_degree=1,
    )
    metadata = {"coordinate_system": "y-up-right-handed", "recorded frames per second": f"{RATE:g}"}
    duration = FRAMES / RATE
    fourdgs.write(str(path), gaussians, duration, options=fourdgs.WriteOptions(metadata=metadata))
    return places


def test_records_of_a_4dgs_that_follow_one_another_are_one_gaussian(tmp_path: Path) -> None:
    """In fourdgs 0.6.0 a record ends before the end of its window, so nothing lives at its last second."""
    places = write_4dgs(tmp_path / "a.4dgs")
    file = read_splats(tmp_path / "a.4dgs")
    sequence = file.sequence
    assert sequence.about.up == "y" and sequence.about.fps == RATE and file.notes == ()
    np.testing.assert_allclose(sequence.seconds, np.arange(FRAMES) / RATE)
    first = sequence.at(0)
    assert len(first) == 12
    order = [int(np.linalg.norm(places[0] - mean, axis=1).argmin()) for mean in first.means]
    assert sorted(order) == list(range(12))
    for i in range(FRAMES):
        found = sequence.at(i)
        np.testing.assert_allclose(found.means, places[i][order], atol=5e-3)
        np.testing.assert_allclose(found.opacities, SCENE.opacities[order], atol=0.01)
        np.testing.assert_allclose(found.sh[:, 1:], SCENE.sh[order, 1:4], atol=0.017)
        np.testing.assert_allclose(found.sh[:, 0], SCENE.sh[order, 0].clip(-1.7725, 1.7725), atol=0.02)
        assert angles(found.quats, SCENE.quats[order]).max() < 1
    np.testing.assert_array_equal(sequence.moving, np.array(order) >= 4)


def test_records_that_do_not_follow_one_another_are_shown_frame_by_frame(tmp_path: Path) -> None:
    write_4dgs(tmp_path / "a.4dgs", matched=False)
    file = read_splats(tmp_path / "a.4dgs", fps=10)
    alive = [int((file.sequence.at(i).opacities > 0).sum()) for i in range(FRAMES)]
    assert alive == [12] * FRAMES
    # Eight that jump at each frame would need a row for each.
    assert len(file.sequence.at(0)) == 12 and not file.same_rows
    assert "do not follow one another" in file.notes[0]
