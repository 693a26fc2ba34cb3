"""USD with prims of ParticleField3DGaussianSplat, its time samples included, by usd-core."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.io.damage import CONTENT_ERRORS
from dyn3d_ns.io.errors import CommandError, DamagedFileError, UserError
from dyn3d_ns.io.splat_files.glb import joined
from dyn3d_ns.io.splat_files.placed import placed
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, SplatFile, Table, assemble, lower_degree
from dyn3d_ns.io.splats import About, Up

KIND = "ParticleField3DGaussianSplat"
MAX_TIMES = 10_000
_SH = "radiance:sphericalHarmonicsCoefficients"
_NAMES = ("positions", "orientations", "scales", "opacities", _SH)


def read_usd(path: Path) -> SplatFile:
    """Read the Gaussians of a stage at its frames, and where else it is sampled; its start is second 0.

    Raises:
        CommandError: usd-core is missing.
        DamagedFileError: the stage cannot be opened, or holds no Gaussians.
    """
    Tf, Usd, UsdGeom = _usd_core(path)
    try:
        return _read(Usd.Stage.Open(str(path), Usd.Stage.LoadNone), path, Usd, UsdGeom)
    except UserError:
        raise
    except (Tf.ErrorException, *CONTENT_ERRORS, RuntimeError) as error:
        raise DamagedFileError(f"{path} cannot be read as USD ({_said(error)}); export it again") from error


def _said(error: Exception) -> str:
    """Return an error's last line; those of the library may hold bytes of the file that are no text."""
    try:
        return f"{str(error).strip().rpartition(chr(10))[2].strip():.200}" or type(error).__name__
    except UnicodeDecodeError:
        return "it holds bytes that are no text"


def _read(stage: Any, path: Path, Usd: Any, UsdGeom: Any) -> SplatFile:
    prims = [prim for prim in stage.Traverse() if prim.GetTypeName() == KIND]
    if not prims:
        raise DamagedFileError(f"{path} holds no prim of the type {KIND}; export the Gaussians as such")
    rate = stage.GetTimeCodesPerSecond()
    if not (math.isfinite(rate) and rate > 0):
        raise DamagedFileError(f"{path} states {rate:g} time codes a second; it must be more than 0")
    fps = stage.GetFramesPerSecond() if stage.HasAuthoredMetadata("framesPerSecond") else rate
    fps = fps if math.isfinite(fps) and fps > 0 else rate
    codes = _frames(_samples(prims, UsdGeom), stage, rate / fps, path)
    seconds = [(code - codes[0]) / rate for code in codes] or [0.0]
    up: Up = "z" if str(UsdGeom.GetStageUpAxis(stage)) == "Z" else "y"
    about = About(
        up=up,
        metres_per_unit=UsdGeom.GetStageMetersPerUnit(stage)
        if UsdGeom.StageHasAuthoredMetersPerUnit(stage)
        else None,
        fps=fps,
        observed=(0.0, seconds[-1]),
    )
    hidden = [prim for prim in prims if UsdGeom.Imageable(prim).GetVisibilityAttr().GetNumTimeSamples() > 0]
    held = bool(hidden) or stage.GetInterpolationType() == Usd.InterpolationTypeHeld
    when = [Usd.TimeCode(code) for code in codes] or [Usd.TimeCode.Default()]
    tables = [joined([_prim(prim, time, up, UsdGeom, path) for prim in prims]) for time in when]
    return assemble(tables, seconds, about, path, same_rows=not held)


def _usd_core(path: Path) -> tuple[Any, Any, Any]:
    """Return the parts of usd-core that are used; its type stubs lack most of them."""
    try:
        from pxr import Tf, Usd, UsdGeom
    except ImportError as error:
        raise CommandError(f"{path} takes a further package to read: pip install 'dyn3d-ns[usd]'") from error
    return Tf, Usd, UsdGeom


def _frames(samples: list[float], stage: Any, step: float, path: Path) -> list[float]:
    """Return the time codes of frames from the stage's start to its end, and of samples off them."""
    if not samples:
        return []
    first, last = samples[0], samples[-1]
    if stage.HasAuthoredTimeCodeRange():
        stated = stage.GetStartTimeCode(), stage.GetEndTimeCode()
        if all(map(math.isfinite, stated)) and stated[0] <= stated[1]:
            first, last = stated
    count = (last - first) / step
    if not count + len(samples) < MAX_TIMES:
        raise DamagedFileError(
            f"{path} holds {count:.6g} frames and {len(samples)} samples; up to {MAX_TIMES} can be read"
        )
    frames = [first + i * step for i in range(math.floor(count + 1e-6) + 1)]
    inside = [code for code in samples if first <= code <= last]
    found: list[float] = []
    for code in sorted({*frames, *inside}):
        if not found or code - found[-1] > 1e-6 * step:
            found.append(code)
    return found


def _samples(prims: list[Any], geometry: Any) -> list[float]:
    """List the time codes at which Gaussians, what they hang in or whether they show is sampled."""
    codes: set[float] = set()
    for prim in prims:
        attributes = [attribute for name in _NAMES for attribute in _either(prim, name)]
        above = prim
        while above and not above.IsPseudoRoot():
            attributes.append(geometry.Imageable(above).GetVisibilityAttr())
            codes |= set(geometry.Xformable(above).GetTimeSamples())
            above = above.GetParent()
        for attribute in attributes:
            codes |= set(attribute.GetTimeSamples() if attribute else ())
    return sorted(code for code in codes if math.isfinite(code))


def _either(prim: Any, name: str) -> list[Any]:
    """Return the attribute that counts: that in float, or else that in half."""
    for attribute in (prim.GetAttribute(name), prim.GetAttribute(f"{name}h")):
        if attribute and attribute.HasAuthoredValue():
            return [attribute]
    return []


def _prim(prim: Any, time: Any, up: Up, geometry: Any, path: Path) -> Table:
    where, notes = f"{path}: {prim.GetPath()}", []

    def values(name: str, width: int) -> np.ndarray | None:
        found = _either(prim, name)
        held = found[0].Get(time) if found else None
        if held is None:
            return None
        return np.asarray(held, np.float32).reshape(-1, width)

    means = values("positions", 3)
    if means is None:
        raise DamagedFileError(f"{where} has no positions; export it again")
    count = len(means)
    if count > MAX_GAUSSIANS:
        raise DamagedFileError(f"{where} holds {count} Gaussians; {MAX_GAUSSIANS} can be read")
    usual = {"orientations": [0, 0, 0, 1], "scales": [1, 1, 1], "opacities": [1]}
    parts: dict[str, np.ndarray] = {}
    for name, value in usual.items():
        found = values(name, len(value))
        if found is None:
            notes.append(f"no {name} are stated: {value} is taken for all")
            found = np.tile(np.asarray(value, np.float32), (count, 1))
        if len(found) != count:
            raise DamagedFileError(f"{where} has {count} positions but {len(found)} {name}; export it again")
        parts[name] = found
    sh = _harmonics(values(_SH, 3), prim, count, where, notes)
    shown = geometry.Imageable(prim).ComputeVisibility(time) != geometry.Tokens.invisible
    table = Table(
        means=means,
        # numpy takes the rows of a quaternion array as x, y, z, w (usd-core 26.11).
        quats=parts["orientations"][:, [3, 0, 1, 2]],
        scales=parts["scales"],
        opacities=parts["opacities"][:, 0] * shown,
        sh=sh,
        notes=tuple(notes),
        up=up,
    )
    world = np.asarray(geometry.Xformable(prim).ComputeLocalToWorldTransform(time), np.float64).T
    return placed(table, world, where)


def _harmonics(
    found: np.ndarray | None, prim: Any, count: int, where: str, notes: list[str]
) -> Float64[np.ndarray, "N K 3"]:
    """Return coefficients, as many for each Gaussian as there are, whatever degree is stated."""
    if found is None:
        notes.append("no colours are stated: all is grey")
        return np.zeros((count, 1, 3), np.float32)
    terms = len(found) // max(count, 1)
    degree = math.isqrt(terms) - 1
    if count and (len(found) != terms * count or (degree + 1) ** 2 != terms):
        raise DamagedFileError(
            f"{where} has {len(found)} coefficients of colour for {count} Gaussians; 1, 4, 9, 16 or 25 of "
            "each are expected"
        )
    attribute = prim.GetAttribute("radiance:sphericalHarmonicsDegree")
    stated = attribute.Get() if attribute and attribute.HasAuthoredValue() else degree
    if stated != degree:
        notes.append(f"degree {stated} is stated, but there are coefficients of degree {degree}: these count")
    sh, told = lower_degree(found.reshape(count, max(terms, 1), 3))
    notes += told
    return sh
