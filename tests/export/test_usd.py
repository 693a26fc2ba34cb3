"""USD files as usd-core 26.11 reads them.

What the exporter depends on: between samples places go on a straight line and orientations the short way
round; a prim without an authored degree is of degree 3; bounding boxes come from `extent` alone.
"""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splat_scenes import FPS, angles, swarm, views

from dyn3d_ns.export.usd import time_codes, write_usd
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
            off = np.linalg.norm(value(prim, "means", index) - truth.means[chosen], axis=1)
            assert off.max() < 0.02
            turned = angles(value(prim, "quats", index), truth.quats[chosen])
            assert (turned * truth.scales[chosen].max(1)).max() < 0.021
            assert turned.max() > 0 or name == "Resting"
            colors = value(prim, "sh", index).reshape(chosen.sum(), -1, 3)
            off = 0.2821 * np.linalg.norm((colors - truth.sh[chosen]).reshape(len(colors), -1), axis=1)
            assert off.max() < 0.022
            np.testing.assert_allclose(value(prim, "scales", index), truth.scales[chosen], rtol=1e-3)
            np.testing.assert_allclose(value(prim, "opacities", index), truth.opacities[chosen], atol=5e-4)


def test_places_that_go_far_later_are_within_the_bound(tmp_path: Path) -> None:
    """Half precision, fine enough for the first frame, misses by 4 units at 8000 and ends at 65504."""
    sequence = swarm()
    far = [
        replace(splats, means=splats.means * np.float32(1 + 10 * index**4))
        for index, splats in enumerate(sequence.instants)
    ]
    sequence = StoredSequence(far, sequence.seconds, sequence.about)
    write_usd(sequence, tmp_path / "a.usdc", max_error=0.02)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    found = value(parts_of(stage)["Moving"], "means", 11)
    assert np.linalg.norm(found - far[11].means[sequence.moving], axis=1).max() <= 0.02


def test_what_moves_is_held_though_a_sequence_says_that_it_rests(tmp_path: Path) -> None:
    sequence = swarm()
    sequence.moving = np.zeros(120, bool)
    write_usd(sequence, tmp_path / "a.usdc", max_error=0.02)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    (prim,) = parts_of(stage).values()
    assert np.linalg.norm(value(prim, "means", 9) - sequence.at(9).means, axis=1).max() <= 0.02
    assert prim.GetAttribute("extent").GetNumTimeSamples() == 12


def test_a_tiny_scene_keeps_its_places_and_sizes(tmp_path: Path) -> None:
    sequence = swarm()
    tiny = [
        replace(splats, means=splats.means * np.float32(1e-6), scales=splats.scales * np.float32(1e-6))
        for splats in sequence.instants
    ]
    sequence = StoredSequence(tiny, sequence.seconds, sequence.about)
    write_usd(sequence, tmp_path / "a.usdc")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    prim = parts_of(stage)["Moving"]
    np.testing.assert_allclose(value(prim, "scales", 0), tiny[0].scales[sequence.moving], rtol=1e-3)
    found = value(prim, "means", 5)
    assert np.linalg.norm(found - tiny[5].means[sequence.moving], axis=1).max() < 4e-9


def test_uneven_times_are_within_the_bound(tmp_path: Path) -> None:
    """What is even from frame to frame is not on straight ways between uneven times."""
    frames, even = swarm(), np.arange(12) / FPS
    seconds = [*even[:6], *(even[6:] + 1.0)]
    sequence = StoredSequence(frames.instants, seconds, frames.about)
    write_usd(sequence, tmp_path / "a.usdc", max_error=0.02)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert stage.GetTimeCodesPerSecond() == FPS
    for index, second in enumerate(seconds):
        found = value(parts_of(stage)["Moving"], "means", second * FPS)
        truth = sequence.at(index).means[sequence.moving]
        assert np.linalg.norm(found - truth, axis=1).max() <= 0.02


@pytest.mark.parametrize(
    ("seconds", "rate", "codes"),
    [
        ((0.0, 0.1, 0.2), 10.0, [0, 1, 2]),
        ((0.25, 0.75, 1.25), 20.0, [5, 15, 25]),
        ((0.05, 0.2, 0.25), 20.0, [1, 4, 5]),
        ((0.0, 1 / 30, 2 / 30), 30.0, [0, 1, 2]),
        ((0.51, 0.61, 0.71), 10.0, [5.1, 6.1, 7.1]),
    ],
)
def test_time_codes_are_whole_numbers_where_a_rate_makes_them(seconds, rate, codes) -> None:
    splats = swarm(frames=4)
    sequence = StoredSequence([splats.at(0)] * 3, seconds, splats.about)
    assert time_codes(sequence) == (pytest.approx(rate), pytest.approx(codes))


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
        depths = np.concatenate([-(x.means - view.pose[:3, 3]) @ view.pose[:3, 2] for x in swarm().instants])
        near, far = found.clippingRange.min, found.clippingRange.max
        assert near < 0.01 < depths.max() < far < 20, "without a range nothing nearer than a unit is seen"


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


def test_a_disk_that_is_full_in_the_midst_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(CommandError, match="usd-core could not write .*a.usda: .*File too large"):
            write_usd(swarm(), tmp_path / "a.usda")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_without_usd_core_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("dyn3d_ns.export.written.import_module", missing)
    with pytest.raises(CommandError, match=r"USD needs an extra: pip install 'dyn3d-ns\[usd\]'"):
        write_usd(swarm(), tmp_path / "a.usd")
    assert not list(tmp_path.iterdir())
