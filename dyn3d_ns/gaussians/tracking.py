"""Following Gaussians from the canonical time outward, one frame after the other.

Each frame starts where constant velocity leads; places and orientations are then fitted to its images while
every Gaussian's neighbours stay where a rigid turn would take them, at their distances (Dynamic 3D Gaussians,
equations 4 to 6). What each Gaussian looks like stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from dyn3d_ns.geometry.rotations import normalize_quat, quat_conjugate, quat_multiply
from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once

NEIGHBOURS = 6
"""Neighbours of each Gaussian that stay with it."""


def outward(count: int, canonical: int, stride: int = 1) -> list[int]:
    """Return the frames in the order in which they are followed: on from the canonical one, then back.

    Args:
        count: Frames in all.
        canonical: Frame to start from; it is not among those returned.
        stride: Every how many frames one is followed; the first and the last are in any case.
    """
    after = [*range(canonical + stride, count - 1, stride), *([count - 1] if canonical < count - 1 else [])]
    before = [*range(canonical - stride, 0, -stride), *([0] if canonical > 0 else [])]
    return after + before


class Tracks:
    """Where each Gaussian was found to be at the frames followed so far."""

    def __init__(
        self,
        times: Sequence[float],
        canonical: int,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"],
    ) -> None:
        """Start at the canonical time.

        Args:
            times: Observed times.
            canonical: Which of them is the canonical one.
            means: Places there, world units.
            quats: Orientations there, wxyz.
        """
        self.times, self.canonical = tuple(times), canonical
        self.found = {canonical: (means.detach().clone(), normalize_quat(quats.detach()).clone())}
        self._neighbours: _Neighbours | None = None

    @property
    def neighbours(self) -> _Neighbours:
        """Which Gaussians stay together; looked for when first asked for."""
        if self._neighbours is None:
            self._neighbours = _Neighbours(*self.found[self.canonical])
        return self._neighbours

    def record(self, frame: int, means: Float[Tensor, "N 3"], quats: Float[Tensor, "N 4"]) -> None:
        """Keep where the Gaussians are at a frame."""
        self.found[frame] = means.detach().clone(), normalize_quat(quats.detach()).clone()

    def start(self, frame: int) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"]]:
        """Return where constant velocity leads at a frame, from the two found next to it on its way."""
        side = [f for f in self.found if (f - self.canonical) * (frame - self.canonical) >= 0]
        side.sort(key=lambda f: abs(f - frame))
        means, quats = self.found[side[0]]
        if len(side) < 2:
            return means.clone(), quats.clone()
        earlier, before = self.found[side[1]]
        ratio = (self.times[frame] - self.times[side[0]]) / (self.times[side[0]] - self.times[side[1]])
        turn = quat_multiply(quats, quat_conjugate(before))
        turn = torch.where(turn[:, :1] < 0, -turn, turn)
        angle = torch.atan2(turn[:, 1:].norm(dim=1, keepdim=True), turn[:, :1])
        axis = torch.nn.functional.normalize(turn[:, 1:], dim=1)
        turn = torch.cat([torch.cos(ratio * angle), torch.sin(ratio * angle) * axis], dim=1)
        return means + ratio * (means - earlier), normalize_quat(quat_multiply(turn, quats))

    def paths(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return times [T], places [T, N, 3] and orientations [T, N, 4] of what was found, in order of time;
        orientations keep their sign from one time to the next."""
        frames = sorted(self.found)
        means = torch.stack([self.found[f][0] for f in frames]).double().cpu().numpy()
        quats = torch.stack([self.found[f][1] for f in frames]).double().cpu().numpy()
        for i in range(1, len(quats)):
            quats[i] *= np.where((quats[i] * quats[i - 1]).sum(1, keepdims=True) < 0, -1.0, 1.0)
        return np.array([self.times[f] for f in frames]), means, quats

    def get_state(self) -> dict[str, Any]:
        """Return what an exact resume needs."""
        return {"frames": list(self.found), "places": [torch.cat(v, dim=1) for v in self.found.values()]}

    @classmethod
    def from_state(cls, times: Sequence[float], canonical: int, state: dict[str, Any]) -> Tracks:
        """Go on from a state of :meth:`get_state`."""
        found = dict(zip(state["frames"], state["places"], strict=True))
        tracks = cls(times, canonical, *found[canonical].split([3, 4], dim=1))
        tracks.found = {frame: tuple(rows.split([3, 4], dim=1)) for frame, rows in found.items()}
        return tracks


class _Neighbours:
    """The neighbours of each Gaussian in the canonical time."""

    def __init__(self, means: Float[Tensor, "N 3"], quats: Float[Tensor, "N 4"]) -> None:
        places = means.cpu().numpy()
        count = min(NEIGHBOURS, len(places) - 1)
        near = KDTree(places).query(places, k=count + 1)
        distances, found = np.asarray(near[0]), np.asarray(near[1])
        lengths = distances[:, 1:].astype(np.float32)
        unit = max(float(np.median(lengths)), 1e-6) if count else 1.0
        weights = np.exp(-0.5 * np.square(lengths / unit))
        # Each Gaussian's terms are the mean of its neighbours', in units of the usual distance.
        weights = (weights / max(weights.sum(), 1e-12) / unit**2).astype(np.float32)
        offsets = np.ascontiguousarray(places[found[:, 1:]] - places[:, None], np.float32)
        back = quat_conjugate(normalize_quat(quats)).cpu().contiguous().numpy()
        self.arrays = found[:, 1:].astype(np.int64), lengths, weights, offsets, back

    def loss(self, means: Float[Tensor, "N 3"], quats: Float[Tensor, "N 4"]) -> Float[Tensor, ""]:
        """Return how far neighbours are from where a rigid turn takes them, and from their distances: mean
        squares, in units of the usual distance of neighbours."""
        return _Stay.apply(means.cpu(), quats.cpu(), self).to(means)  # type: ignore[no-any-return]


@inline
def _product(aw, ax, ay, az, bw, bx, by, bz):
    """Multiply quaternions."""
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


@kernel
def _stay(index, lengths, weights, offsets, back, means, quats, v_means, v_quats):
    total = 0.0
    for i in range(len(index)):
        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        unit = 1 / np.sqrt(max(qw * qw + qx * qx + qy * qy + qz * qz, np.float32(1e-20)))
        qw, qx, qy, qz = unit * qw, unit * qx, unit * qy, unit * qz
        w, x, y, z = _product(qw, qx, qy, qz, back[i, 0], back[i, 1], back[i, 2], back[i, 3])
        tw, tx, ty, tz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        for n in range(index.shape[1]):
            j, weight = index[i, n], weights[i, n]
            a, b, c = offsets[i, n, 0], offsets[i, n, 1], offsets[i, n, 2]
            # q v q* = v + 2 w (q x v) + 2 q x (q x v)
            p, q, r = y * c - z * b, z * a - x * c, x * b - y * a
            ox, oy, oz = means[j, 0] - mx, means[j, 1] - my, means[j, 2] - mz
            ex = ox - (a + 2 * (w * p + y * r - z * q))
            ey = oy - (b + 2 * (w * q + z * p - x * r))
            ez = oz - (c + 2 * (w * r + x * q - y * p))
            now = np.sqrt(ox * ox + oy * oy + oz * oz) + np.float32(1e-9)
            off = now - lengths[i, n]
            total += weight * (ex * ex + ey * ey + ez * ez + off * off)
            twice, along = 2 * weight, off / now
            gx, gy, gz = twice * (ex + along * ox), twice * (ey + along * oy), twice * (ez + along * oz)
            v_means[j, 0] += gx
            v_means[j, 1] += gy
            v_means[j, 2] += gz
            v_means[i, 0] -= gx
            v_means[i, 1] -= gy
            v_means[i, 2] -= gz
            # Slopes of the turned offset by the quaternion.
            sx, sy, sz = -2 * twice * ex, -2 * twice * ey, -2 * twice * ez
            dot_qv, dot_qs, dot_vs = x * a + y * b + z * c, x * sx + y * sy + z * sz, a * sx + b * sy + c * sz
            tw += sx * p + sy * q + sz * r
            tx += w * (b * sz - c * sy) + a * dot_qs + dot_qv * sx - 2 * x * dot_vs
            ty += w * (c * sx - a * sz) + b * dot_qs + dot_qv * sy - 2 * y * dot_vs
            tz += w * (a * sy - b * sx) + c * dot_qs + dot_qv * sz - 2 * z * dot_vs
        # Through the product with what turns back, and through the scaling to length one.
        tw, tx, ty, tz = _product(tw, tx, ty, tz, back[i, 0], -back[i, 1], -back[i, 2], -back[i, 3])
        dot = tw * qw + tx * qx + ty * qy + tz * qz
        v_quats[i, 0], v_quats[i, 1] = unit * (tw - dot * qw), unit * (tx - dot * qx)
        v_quats[i, 2], v_quats[i, 3] = unit * (ty - dot * qy), unit * (tz - dot * qz)
    return total


class _Stay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, n: _Neighbours) -> Tensor:
        places, turns = means.contiguous().numpy(), quats.contiguous().numpy()
        ctx.slopes = np.zeros_like(places), np.empty_like(turns)
        return torch.scalar_tensor(_stay(*n.arrays, places, turns, *ctx.slopes))

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        scale = np.float32(grads[0].item())
        v_means, v_quats = (torch.from_numpy(x * scale) for x in ctx.slopes)
        return v_means, v_quats, None
