"""USD: `ParticleField3DGaussianSplat` of OpenUSD 26.03, with time samples where something moves.

What rests is one prim, what moves another. Between two samples readers go on a straight line, orientations
the short way round, so that frames are left out where that stays within a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Bool

from dyn3d_ns.export.keys import COLOR_ERROR, Keys, color_bound, extent_of, turn_vectors
from dyn3d_ns.export.written import Written, frame_rate, new_file, provenance, require_package
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import Splats, SplatSequence, View

SUFFIXES = (".usd", ".usdc", ".usda")
TYPE = "ParticleField3DGaussianSplat"
APERTURE = 24.0
"""Height of the cameras' film, tenths of a unit as USD counts it."""


class Attribute:
    """One attribute of a prim, sampled at the frames that it needs."""

    def __init__(
        self, prim: Any, name: str, convert: Callable[[np.ndarray], Any], codes: list[float]
    ) -> None:
        """Write to ``name`` of a prim what ``convert`` makes of values."""
        self._attribute, self._convert, self._codes = prim.GetAttribute(name), convert, codes
        self._keys: Keys | None = None
        self._kept = [0]

    def begin(self, values: np.ndarray, keys: Keys | None) -> None:
        """Take the first frame; without ``keys`` it is the only one."""
        self._first, self._before, self._keys, self._still = values, values, keys, True

    def go_on(self, index: int, values: np.ndarray) -> None:
        """Take the next frame."""
        if self._keys is None:
            return
        if self._still and np.array_equal(values, self._first):
            return
        if self._still and index > 1:
            self._keys.key_before(index - 1, self._first)
        self._still = False
        key = self._keys.key_before(index, values)
        if key is not None:
            self._sample(key, self._before)
        self._before = values

    def end(self) -> int:
        """Write what is left, and return the number of samples."""
        if self._keys is None or self._still:
            self._attribute.Set(self._convert(self._first))
            return 1
        self._attribute.Set(self._convert(self._first), self._codes[0])
        self._sample(len(self._codes) - 1, self._before)
        return len(self._kept)

    def _sample(self, index: int, values: np.ndarray) -> None:
        self._kept.append(index)
        self._attribute.Set(self._convert(values), self._codes[index])


class Part:
    """The prim of those Gaussians that rest, or of those that move."""

    def __init__(self, prim: Any, chosen: Bool[np.ndarray, "N"], moves: bool, codes: list[float]) -> None:
        """Hold the ``chosen`` Gaussians in ``prim``."""
        self.prim, self.moves, self.codes = prim, moves, codes
        self.rows = np.flatnonzero(chosen)
        self._boxes: list[np.ndarray] = []

    def begin(self, splats: Splats, bound: float, half: bool) -> None:
        """Take the first time.

        Args:
            splats: The Gaussians.
            bound: Largest error of places, sizes and, at one standard deviation, turns; units.
            half: Whether half precision is enough for places.
        """
        vt = require_usd().Vt
        several, degree = len(self.codes) > 1, splats.degree
        self.prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(degree)

        def attribute(name: str, kind: Any, exact: type, width: int) -> Attribute:
            def convert(values: np.ndarray) -> Any:
                # Arrays of quaternions take rows of x, y, z, w, though all else in USD is w first.
                rows = values[:, [1, 2, 3, 0]] if width == 4 else values
                rows = np.ascontiguousarray(rows, dtype=exact)
                return kind.FromNumpy(rows if width == 1 else rows.reshape(-1, width))

            return Attribute(self.prim, name, convert, self.codes)

        places = (
            ("positionsh", vt.Vec3hArray, np.float16, 3)
            if half
            else ("positions", vt.Vec3fArray, np.float32, 3)
        )
        self._attributes = {
            "means": attribute(*places),
            "quats": attribute("orientationsh", vt.QuathArray, np.float16, 4),
            "scales": attribute("scalesh", vt.Vec3hArray, np.float16, 3),
            "opacities": attribute("opacitiesh", vt.HalfArray, np.float16, 1),
            "sh": attribute("radiance:sphericalHarmonicsCoefficientsh", vt.Vec3hArray, np.float16, 3),
        }
        values = self._values(splats)
        self._largest = np.maximum(values["scales"].max(1), 1e-12)
        keys: dict[str, Keys] = {}
        if several:
            keys = {
                "scales": Keys(values["scales"], bound),
                "opacities": Keys(values["opacities"], COLOR_ERROR),
                "sh": Keys(values["sh"], color_bound(values["opacities"])),
            }
            if self.moves:
                keys["means"] = Keys(values["means"], bound)
                keys["quats"] = Keys(values["quats"], bound / self._largest, turn_vectors)
        for name, held in self._attributes.items():
            held.begin(values[name], keys.get(name))
        self._box(splats)

    def go_on(self, index: int, splats: Splats) -> None:
        """Take the next time."""
        for name, values in self._values(splats).items():
            self._attributes[name].go_on(index, values)
        if self.moves:
            self._box(splats)

    def end(self) -> dict[str, int]:
        """Write what is left, and return the samples of every attribute."""
        vt = require_usd().Vt
        extent = self.prim.GetAttribute("extent")
        for code, box in zip(self.codes, self._boxes, strict=False):
            extent.Set(vt.Vec3fArray.FromNumpy(box), *((code,) if len(self._boxes) > 1 else ()))
        return {name: held.end() for name, held in self._attributes.items()}

    def _values(self, splats: Splats) -> dict[str, np.ndarray]:
        columns = {
            "means": splats.means,
            "quats": splats.quats,
            "scales": splats.scales,
            "opacities": splats.opacities,
            "sh": splats.sh.reshape(len(splats), -1),
        }
        return {name: np.take(column, self.rows, axis=0) for name, column in columns.items()}

    def _box(self, splats: Splats) -> None:
        # By column: numpy reduces long ones several times as fast as rows of three.
        means = np.ascontiguousarray(np.take(splats.means, self.rows, axis=0).T)
        reach = 3 * np.maximum.reduce(list(np.take(splats.scales, self.rows, axis=0).T))
        low, high = (means - reach).min(1), (means + reach).max(1)
        self._boxes.append(np.stack([low, high]).astype(np.float32))


def require_usd() -> Any:
    """Return usd-core's modules by name, 26.3 or later; they have no types.

    Raises:
        CommandError: it is not there.
    """
    names = ("Gf", "Usd", "UsdGeom", "Vt")
    pxr = SimpleNamespace(**{name: require_package(f"pxr.{name}", "usd", "USD") for name in names})
    if pxr.Usd.SchemaRegistry().FindConcretePrimDefinition(TYPE) is None:
        raise CommandError(f"{TYPE} is not known to this usd-core: pip install 'usd-core>=26.3'")
    return pxr


def write_usd(sequence: SplatSequence, path: Path, max_error: float | None = None) -> Written:
    """Write a scene as USD; binary unless the name ends in .usda.

    Args:
        sequence: Gaussians over time.
        path: File to write (.usd, .usdc, .usda).
        max_error: Largest error of places between samples, units; a thousandth of the extent if None.

    Raises:
        CommandError: usd-core is missing, or the disk is full.
    """
    pxr = require_usd()
    usd, geom = pxr.Usd, pxr.UsdGeom
    fps, count = frame_rate(sequence), len(sequence.seconds)
    codes = [round(second * fps, 6) for second in sequence.seconds]
    stage = usd.Stage.CreateInMemory(path.name)
    world = geom.Xform.Define(stage, "/Scene").GetPrim()
    stage.SetDefaultPrim(world)
    about = sequence.about
    geom.SetStageUpAxis(stage, geom.Tokens.z if about.up == "z" else geom.Tokens.y)
    geom.SetStageMetersPerUnit(stage, about.metres_per_unit or 1.0)
    stage.GetRootLayer().customLayerData = {"dyn3d": provenance(about)}
    if count > 1:
        stage.SetTimeCodesPerSecond(fps)
        stage.SetFramesPerSecond(fps)
        stage.SetStartTimeCode(codes[0])
        stage.SetEndTimeCode(codes[-1])
    first, moving = sequence.at(0), sequence.moving
    bound = max_error or extent_of(first.means) / 1000
    shift = first.means.mean(0) if first.means.dtype == np.float64 else np.zeros(3)
    if shift.any():
        geom.XformCommonAPI(geom.Xform(world)).SetTranslate(tuple(map(float, shift)))
    reach = float(np.abs(first.means - shift).max())
    half = reach * 2.0**-11 <= bound / 4
    parts = [
        Part(stage.DefinePrim(f"/Scene/{name}", TYPE), chosen, name == "Moving" and count > 1, codes)
        for name, chosen in (("Resting", ~moving), ("Moving", moving))
        if chosen.any()
    ]
    for index in range(count):
        splats = sequence.at(index) if index else first
        if shift.any():
            splats = replace(splats, means=np.float32(splats.means - shift))
        for part in parts:
            part.go_on(index, splats) if index else part.begin(splats, bound, half)
    samples = [part.end() for part in parts]
    for number, view in enumerate(about.views):
        _camera(stage, f"/Scene/Cameras/Camera_{number:04d}", view, shift)
    size = sum(_bytes(part, kept, half) for part, kept in zip(parts, samples, strict=True))
    with new_file(path, size) as temporary:
        stage.GetRootLayer().Export(str(temporary))
    most = {name: max(kept[name] for kept in samples) for name in ("means", "quats", "sh")}
    loss = f"exact to half precision ({reach * 2.0**-11:.2g} units)" if half else "exact"
    if count > 1:
        loss = (
            f"places within {bound:.3g} units and colours within {COLOR_ERROR:g} at times left out "
            f"({most['means']} of {count} kept for places, {most['quats']} for turns, {most['sh']} for "
            f"colours), places {'half' if half else 'float'}"
        )
    return Written(path, path.stat().st_size, loss)


def _camera(stage: Any, name: str, view: View, shift: np.ndarray) -> None:
    pxr = require_usd()
    geom = pxr.UsdGeom
    pose = np.array(view.pose, np.float64)
    pose[:3, 3] -= shift
    camera = geom.Camera.Define(stage, name)
    camera.AddTransformOp().Set(pxr.Gf.Matrix4d(*pose.T.flatten().tolist()))
    camera.CreateVerticalApertureAttr(APERTURE)
    camera.CreateHorizontalApertureAttr(APERTURE * view.size[0] / view.size[1])
    camera.CreateFocalLengthAttr(float(APERTURE / 2 / np.tan(np.radians(view.fov) / 2)))


def _bytes(part: Part, samples: dict[str, int], half: bool) -> int:
    one = {"means": 6 if half else 12, "quats": 8, "scales": 6, "opacities": 2}
    count = len(part.rows)
    colors = part._attributes["sh"]._first.size * 2
    return sum(count * one[name] * samples[name] for name in one) + colors * samples["sh"]
