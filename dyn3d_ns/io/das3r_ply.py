"""The PLY file of DAS3R's published code: a splat file that also says how static each Gaussian is.

Beside the columns of 3D Gaussian Splatting it has `opacity_ori`, the logit of a Gaussian's own opacity, and
`conf_static`, how static it is; `opacity`, the one that viewers read, is the logit of both multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.ply import logit, read_vertices, write_splats

_NEEDED = (
    "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


@dataclass(frozen=True)
class StaticSplats:
    """Gaussians that each say how static they are."""

    means: Float[np.ndarray, "N 3"]
    """Centres in world units."""
    quats: Float32[np.ndarray, "N 4"]
    """Rotations wxyz, unit length."""
    scales: Float32[np.ndarray, "N 3"]
    """Standard deviations in world units."""
    opacities: Float32[np.ndarray, "N"]
    """Their own opacities, in 0..1, without staticness."""
    static: Float32[np.ndarray, "N"]
    """How static they are; 0..1 in our files, unbounded in those of the published code."""
    sh: Float32[np.ndarray, "N K 3"]
    """Spherical harmonics coefficients."""

    @property
    def shown(self) -> Float32[np.ndarray, "N"]:
        """Opacities in the static scene: what is not static fades."""
        return np.clip(self.opacities * self.static, 0, 1)


def write_das3r_ply(path: Path | str, splats: StaticSplats) -> None:
    """Write Gaussians so that DAS3R's code reads them, and viewers show the static scene."""
    write_splats(
        path,
        splats.means,
        splats.quats,
        splats.scales,
        splats.shown,
        splats.sh,
        {"opacity_ori": logit(splats.opacities).astype(np.float32), "conf_static": splats.static},
    )


def read_das3r_ply(path: Path | str) -> StaticSplats:
    """Read Gaussians with their staticness; those of a plain splat file are static.

    As in DAS3R's loader the opacity is that of `opacity_ori`, to be multiplied by `conf_static`.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is cut off, lacks a column, is empty, or holds what is not finite.
    """
    vertices = read_vertices(path)
    names = vertices.dtype.names or ()
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise DamagedFileError(
            f"{path} holds no splats: it lacks {', '.join(lacking)}; its vertices have {', '.join(names)}"
        )
    if ("opacity_ori" in names) != ("conf_static" in names):
        raise DamagedFileError(f"{path} must have both opacity_ori and conf_static, or neither")
    if len(vertices) == 0:
        raise DamagedFileError(f"{path} holds no Gaussian")
    rest = sum(name.startswith("f_rest_") for name in names)
    k = rest // 3 + 1
    if rest % 3 or round(k**0.5) ** 2 != k or not all(f"f_rest_{i}" in names for i in range(rest)):
        raise DamagedFileError(f"{path} has {rest} columns f_rest_*; expected 0, 9, 24 or 45 in a row")

    def columns(*wanted: str) -> np.ndarray:
        if not wanted:
            return np.zeros((len(vertices), 0), np.float32)
        values = np.stack([vertices[name] for name in wanted], axis=1).astype(np.float32)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise DamagedFileError(f"{path}: {', '.join(wanted[:3])} of {bad.sum()} Gaussians are not finite")
        return values

    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if (lengths < 1e-8).any():
        raise DamagedFileError(f"{path}: {(lengths < 1e-8).sum()} rotations have length 0")
    base = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    # All coefficients of red, then of green, then of blue.
    higher = (
        columns(*(f"f_rest_{i}" for i in range(rest))).reshape(len(vertices), 3, k - 1).transpose(0, 2, 1)
    )
    own = "opacity_ori" if "opacity_ori" in names else "opacity"
    static = columns("conf_static")[:, 0] if "conf_static" in names else np.ones(len(vertices), np.float32)
    logits = columns(own)[:, 0].astype(np.float64)
    return StaticSplats(
        means=columns("x", "y", "z"),
        quats=quats / lengths,
        scales=np.exp(columns("scale_0", "scale_1", "scale_2")),
        opacities=(1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32),
        static=static,
        sh=np.concatenate([base, higher], axis=1),
    )
