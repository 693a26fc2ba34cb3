"""USD: `ParticleField3DGaussianSplat` of OpenUSD 26.03, with time samples where something moves.

What rests is one prim, what moves another. Between two samples readers go on a straight line, orientations
the short way round, so that frames are left out where that stays within a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.export.keys import COLOR_ERROR, Keys, color_bound, extent_of, turn_vectors
from dyn3d_ns.export.written import Written, frame_rate, new_file, provenance, require_package
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import Splats, SplatSequence, View

SUFFIXES = (".usd", ".usdc", ".usda")
TYPE = "ParticleField3DGaussianSplat"
HALF_STEP, LARGEST = 2.0**-10, 65504.0
"""Steps of half precision near one, and its largest number."""
KEPT = 0.75
"""Part of a bound on places that is for frames left out; the rest is for half precision."""
Near = Callable[[np.ndarray, np.ndarray], bool]
TEXT = 6
"""Characters for a byte of half precision, about."""
APERTURE = 24.0
"""Height of the cameras' film, tenths of a unit as USD counts it."""


class Attribute:
    """One attribute of a prim, sampled at the frames that it needs."""

    def __init__(
        self, prim: Any, name: str, kinds: Sequence[Any], codes: list[float], near: Near | None = None
    ) -> None:
        """Write to ``name`` of a prim.

        Args:
            prim: What has the attribute.
            name: In single precision; that in half precision has an ``h`` behind it.
            kinds: USD's arrays of half and of single precision.
            codes: Time codes of the frames.
            near: Tells whether rounded values are near enough to the true ones for half precision; it always
                is if None. All samples are held until the end then, as one precision is chosen for all.
        """
        self._prim, self._name, self._kinds, self._codes, self._near = prim, name, kinds, codes, near
        self._keys: Keys | None = None
        self._held: list[tuple[np.ndarray, tuple[float, ...]]] = []
        self.half, self.samples = True, 0

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
            self._sample(self._before, self._codes[key])
        self._before = values

    def end(self) -> None:
        """Write what is left."""
        if self._keys is None or self._still:
            self._sample(self._first)
        else:
            self._sample(self._first, self._codes[0])
            self._sample(self._before, self._codes[-1])
        for values, code in self._held:
            self._write(values, code)

    @property
    def size(self) -> int:
        """Bytes of all samples."""
        return self.samples * self._first.size * (2 if self.half else 4)

    def _sample(self, values: np.ndarray, *code: float) -> None:
        self.samples += 1
        if self._near is None:
            self._write(values, code)
        else:
            self.half = self.half and self._near(values, rounded(values))
            self._held.append((values, code))

    def _write(self, values: np.ndarray, code: tuple[float, ...]) -> None:
        # Arrays of quaternions take rows of x, y, z, w, though all else in USD is w first.
        rows = values[:, [1, 2, 3, 0]] if values.shape[1:] == (4,) else values
        rows = rounded(rows) if self.half else np.asarray(rows, np.float32)
        width = () if rows.ndim == 1 else (4,) if rows.shape[1] == 4 else (3,)
        attribute = self._prim.GetAttribute(f"{self._name}h" if self.half else self._name)
        kind = self._kinds[0 if self.half else 1]
        attribute.Set(kind.FromNumpy(np.ascontiguousarray(rows).reshape(-1, *width)), *code)


def rounded(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return values in half precision; what it cannot reach becomes its largest number."""
    return np.clip(values, -LARGEST, LARGEST).astype(np.float16)


class Part:
    """The prim of those Gaussians that rest, or of those that move."""

    def __init__(self, prim: Any, chosen: Bool[np.ndarray, "N"], codes: list[float]) -> None:
        """Hold the ``chosen`` Gaussians in ``prim``."""
        self.prim, self.codes = prim, codes
        self.rows = np.flatnonzero(chosen)
        self.boxes: list[np.ndarray] = []

    def begin(self, splats: Splats, bound: float) -> None:
        """Take the first time.

        Args:
            splats: The Gaussians.
            bound: Largest error of places, sizes and, at one standard deviation, turns; units.
        """
        vt = require_usd().Vt
        several, degree = len(self.codes) > 1, splats.degree
        self.prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(degree)
        kinds = {
            "means": ("positions", vt.Vec3hArray, vt.Vec3fArray),
            "quats": ("orientations", vt.QuathArray, vt.QuatfArray),
            "scales": ("scales", vt.Vec3hArray, vt.Vec3fArray),
            "opacities": ("opacities", vt.HalfArray, vt.FloatArray),
            "sh": ("radiance:sphericalHarmonicsCoefficients", vt.Vec3hArray, vt.Vec3fArray),
        }

        def near_places(true: np.ndarray, half: np.ndarray) -> bool:
            return float(np.linalg.norm(half - true, axis=1).max()) <= (1 - KEPT) * bound

        def near_sizes(true: np.ndarray, half: np.ndarray) -> bool:
            return bool((np.abs(half - true) <= HALF_STEP * true).all())

        near = {"means": near_places, "scales": near_sizes}
        self._attributes = {
            name: Attribute(self.prim, called, arrays, self.codes, near.get(name))
            for name, (called, *arrays) in kinds.items()
        }
        values = self._values(splats)
        self._largest = np.maximum(values["scales"].max(1), 1e-12)
        keys: dict[str, Keys] = {}
        if several:
            keys = {
                "scales": Keys(values["scales"], bound, times=self.codes),
                "opacities": Keys(values["opacities"], COLOR_ERROR, times=self.codes),
                "sh": Keys(values["sh"], color_bound(values["opacities"]), times=self.codes),
            }
            keys["means"] = Keys(values["means"], KEPT * bound, times=self.codes)
            keys["quats"] = Keys(values["quats"], bound / self._largest, turn_vectors, self.codes)
        for name, held in self._attributes.items():
            held.begin(values[name], keys.get(name))
        self._box(splats)

    def go_on(self, index: int, splats: Splats) -> None:
        """Take the next time."""
        for name, values in self._values(splats).items():
            self._attributes[name].go_on(index, values)
        self._box(splats)

    def end(self) -> dict[str, Attribute]:
        """Write what is left, and return the attributes."""
        vt = require_usd().Vt
        extent = self.prim.GetAttribute("extent")
        moves = any(not np.array_equal(box, self.boxes[0]) for box in self.boxes)
        boxes = self.boxes if moves else self.boxes[:1]
        for code, box in zip(self.codes, boxes, strict=False):
            extent.Set(vt.Vec3fArray.FromNumpy(box), *((code,) if len(boxes) > 1 else ()))
        for held in self._attributes.values():
            held.end()
        return self._attributes

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
        self.boxes.append(np.stack([low, high]).astype(np.float32))


def require_usd() -> Any:
    """Return usd-core's modules by name, 26.3 or later; they have no types.

    Raises:
        CommandError: it is not there.
    """
    names = ("Gf", "Tf", "Usd", "UsdGeom", "Vt")
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
    count = len(sequence.seconds)
    fps, codes = time_codes(sequence)
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
    extent = extent_of(first.means)
    bound = max_error or extent / 1000
    shift = first.means.mean(0) if first.means.dtype == np.float64 else np.zeros(3)
    if shift.any():
        geom.XformCommonAPI(geom.Xform(world)).SetTranslate(tuple(map(float, shift)))
    parts = [
        Part(stage.DefinePrim(f"/Scene/{name}", TYPE), chosen, codes)
        for name, chosen in (("Resting", ~moving), ("Moving", moving))
        if chosen.any()
    ]
    for index in range(count):
        splats = sequence.at(index) if index else first
        if shift.any():
            splats = replace(splats, means=np.float32(splats.means - shift))
        for part in parts:
            part.go_on(index, splats) if index else part.begin(splats, bound)
    held = [part.end() for part in parts]
    boxes = np.concatenate([part.boxes for part in parts])
    for number, view in enumerate(about.views):
        _camera(stage, f"/Scene/Cameras/Camera_{number:04d}", view, shift, (extent / 1000, boxes))
    size = sum(attribute.size for attributes in held for attribute in attributes.values())
    with new_file(path, size * (TEXT if path.suffix.lower() == ".usda" else 1)) as temporary:
        try:
            stage.GetRootLayer().Export(str(temporary))
        except pxr.Tf.ErrorException as error:
            raise CommandError(f"usd-core could not write {path}: {_reason(error)}") from error
    most = {name: max(attributes[name].samples for attributes in held) for name in ("means", "quats", "sh")}
    half = all(attributes["means"].half for attributes in held)
    loss = f"places within {(1 - KEPT) * bound:.3g} units" if half else "places exact"
    loss += ", all else to half precision"
    if count > 1:
        loss = (
            f"places within {bound:.3g} units and colours within {COLOR_ERROR:g} at times left out "
            f"({most['means']} of {count} kept for places, {most['quats']} for turns, {most['sh']} for "
            f"colours), places {'half' if half else 'float'}"
        )
    return Written(path, path.stat().st_size, loss)


def time_codes(sequence: SplatSequence) -> tuple[float, list[float]]:
    """Return the rate of a stage and the codes of its times.

    Blender shows code n at frame n: the rate is that of evenly spaced times, or of the recording where only
    that makes whole numbers.
    """
    seconds = np.asarray(sequence.seconds)
    rates = frame_rate(sequence), sequence.about.fps
    for rate in rates:
        if np.abs(seconds * rate - np.rint(seconds * rate)).max() < 1e-3:
            return rate, np.rint(seconds * rate).tolist()
    return rates[0], np.round(seconds * rates[0], 6).tolist()


def _reason(error: Exception) -> str:
    """Return what was wrong first, of lines that also say where."""
    return str(error).strip().splitlines()[0].rsplit(" : ", 1)[-1].strip("' ")


def _camera(
    stage: Any, name: str, view: View, shift: np.ndarray, shown: tuple[float, Float[np.ndarray, "B 2 3"]]
) -> None:
    """Add a recorded camera, which sees from a distance on up to the farthest corner of boxes."""
    pxr = require_usd()
    geom = pxr.UsdGeom
    pose = np.array(view.pose, np.float64)
    pose[:3, 3] -= shift
    camera = geom.Camera.Define(stage, name)
    camera.AddTransformOp().Set(pxr.Gf.Matrix4d(*pose.T.flatten().tolist()))
    camera.CreateVerticalApertureAttr(APERTURE)
    camera.CreateHorizontalApertureAttr(APERTURE * view.size[0] / view.size[1])
    near, boxes = shown
    far = np.linalg.norm(np.abs(boxes - pose[:3, 3]).max((0, 1)))
    camera.CreateClippingRangeAttr(pxr.Gf.Vec2f(near, max(1.1 * float(far), 2 * near)))
    camera.CreateFocalLengthAttr(float(APERTURE / 2 / np.tan(np.radians(view.fov) / 2)))
