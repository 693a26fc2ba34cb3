"""USD files as usd-core 26.11 reads them.

What the exporter depends on: between samples places go on a straight line and orientations the short way
round; a prim without an authored degree is of degree 3; bounding boxes come from `extent` alone.
"""

from pathlib import Path

import numpy as np
import pytest
from splat_scenes import FPS, angles, swarm, views

from dyn3d_ns.export.usd import write_usd
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import StoredSequence

pxr = pytest.importorskip("pxr", reason="needs the extra `usd`")
from pxr import Usd, UsdGeom  # noqa: E402

NAMES = {
    "means": "positions",
    "quats": "orientations",
    "scales": "scales",
    "opacities": "opacities",
    "sh": "radiance:sphericalHarmonicsCoefficients",
}


def value(prim, name: str, code: float) -> np.ndarray:
    """Return an attribute at a time, of whichever precision is authored."""
    exact, half = prim.GetAttribute(NAMES[name]), prim.GetAttribute(NAMES[name] + "h")
    assert exact.HasAuthoredValue() != half.HasAuthoredValue(), "one precision"
    found = (exact if exact.HasAuthoredValue() else half).Get(code)
    if name == "quats":
        return np.array([[q.GetReal(), *q.GetImaginary()] for q in found])
    return np.asarray(found, np.float64)


def parts_of(stage) -> dict:
    return {prim.GetName(): prim for prim in stage.Traverse() if prim.GetTypeName().startswith("Particle")}


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_every_frame_is_read_within_the_bound(tmp_path: Path, degree: int) -> None:
    sequence = swarm(degree=degree)
    written = write_usd(sequence, tmp_path / "a.usdc", max_error=0.02)
    assert written.size == (tmp_path / "a.usdc").stat().st_size
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    parts = parts_of(stage)
    assert set(parts) == {"Resting", "Moving"}
    for name, chosen in (("Resting", ~sequence.moving), ("Moving", sequence.moving)):
        prim = parts[name]
        assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == degree
        for index in range(12):
            truth = sequence.at(index)
            assert np.abs(value(prim, "means", index) - truth.means[chosen]).max() < 0.02
            turned = angles(value(prim, "quats", index), truth.quats[chosen])
            assert (turned * truth.scales[chosen].max(1)).max() < 0.021
            assert turned.max() > 0 or name == "Resting"
            colors = value(prim, "sh", index).reshape(chosen.sum(), -1, 3)
            off = 0.2821 * np.linalg.norm((colors - truth.sh[chosen]).reshape(len(colors), -1), axis=1)
            assert off.max() < 0.022
            np.testing.assert_allclose(value(prim, "scales", index), truth.scales[chosen], rtol=1e-3)
            np.testing.assert_allclose(value(prim, "opacities", index), truth.opacities[chosen], atol=5e-4)


def test_only_what_changes_has_samples(tmp_path: Path) -> None:
    write_usd(swarm(), tmp_path / "a.usda", max_error=0.02)
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))  # prims of a stage that nobody holds expire
    counts = {
        part: {a.GetName(): a.GetNumTimeSamples() for a in prim.GetAuthoredAttributes()}
        for part, prim in parts_of(stage).items()
    }
    assert not any(counts["Resting"].values())
    moving = counts["Moving"]
    assert moving["extent"] == 12
    assert moving["orientationsh"] == 2, "an even turn needs its ends alone"
    positions = next(count for name, count in moving.items() if name.startswith("positions"))
    assert 2 < positions < 12
    assert moving["radiance:sphericalHarmonicsCoefficientsh"] == 2, "an even change needs its ends alone"
    assert moving["scalesh"] == moving["opacitiesh"] == 0


def test_what_a_stage_says_of_the_scene(tmp_path: Path) -> None:
    write_usd(swarm(), tmp_path / "a.usd")
    stage = Usd.Stage.Open(str(tmp_path / "a.usd"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 0.5
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == FPS
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 11), "time codes are frames"
    said = stage.GetRootLayer().customLayerData["dyn3d"]
    assert said["method"] == "dyn3d-test" and said["observed seconds"] == "0 to 0.4"
    assert stage.GetDefaultPrim().GetName() == "Scene"
    cache = UsdGeom.BBoxCache(6.0, [UsdGeom.Tokens.default_])
    box = cache.ComputeWorldBound(parts_of(stage)["Moving"]).ComputeAlignedRange()
    places = swarm().at(6).means[swarm().moving]
    assert (np.array(box.GetMin()) < places.min(0)).all() and (np.array(box.GetMax()) > places.max(0)).all()


def test_recorded_cameras_look_where_they_looked(tmp_path: Path) -> None:
    write_usd(swarm(), tmp_path / "a.usd")
    stage = Usd.Stage.Open(str(tmp_path / "a.usd"))
    for number, view in enumerate(views()):
        found = UsdGeom.Camera(stage.GetPrimAtPath(f"/Scene/Cameras/Camera_{number:04d}")).GetCamera(0.0)
        np.testing.assert_allclose(np.array(found.transform).T, view.pose, atol=1e-9)
        assert found.GetFieldOfView(found.FOVVertical) == pytest.approx(view.fov)
        assert found.aspectRatio == pytest.approx(view.size[0] / view.size[1])


def test_one_instant_has_no_samples(tmp_path: Path) -> None:
    sequence = swarm()
    write_usd(StoredSequence([sequence.at(3)], [0.15], sequence.about), tmp_path / "a.usd")
    stage = Usd.Stage.Open(str(tmp_path / "a.usd"))
    (prim,) = parts_of(stage).values()
    assert not any(a.GetNumTimeSamples() for a in prim.GetAuthoredAttributes())
    np.testing.assert_allclose(value(prim, "means", 0), sequence.at(3).means, atol=1e-3)
    assert not stage.HasAuthoredTimeCodeRange()


def test_places_far_from_the_origin_are_held_by_the_transform(tmp_path: Path) -> None:
    shift = (448000.0, 5411000.0, 120.0)
    sequence = swarm(shift=shift)
    write_usd(sequence, tmp_path / "a.usd", max_error=0.01)
    stage = Usd.Stage.Open(str(tmp_path / "a.usd"))
    prim = parts_of(stage)["Moving"]
    world = np.array(UsdGeom.Xformable(prim).ComputeLocalToWorldTransform(5)).T
    found = value(prim, "means", 5) @ world[:3, :3].T + world[:3, 3]
    assert np.abs(found - sequence.at(5).means[sequence.moving]).max() < 0.01
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/Scene/Cameras/Camera_0000"))
    place = np.array(camera.ComputeLocalToWorldTransform(0)).T[:3, 3]
    np.testing.assert_allclose(place, (0, 1, 4), atol=1e-6)


def test_without_usd_core_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("dyn3d_ns.export.written.import_module", missing)
    with pytest.raises(CommandError, match=r"USD needs an extra: pip install 'dyn3d-ns\[usd\]'"):
        write_usd(swarm(), tmp_path / "a.usd")
    assert not list(tmp_path.iterdir())
