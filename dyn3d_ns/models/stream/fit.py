"""What a frame may change of the Gaussians: a motion grid first, then residuals around what it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.spatial import KDTree
from torch import Tensor, nn

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.lattice import (
    ATTRIBUTES,
    QUAT_BITS,
    RESIDUAL_BITS,
    TURN_BITS,
    Carried,
    Lattice,
    LatticeGaussians,
    carry,
    cells_of,
    predicted,
    split,
)
from dyn3d_ns.losses.photometric import image_loss
from dyn3d_ns.models.stream.views import ChangedView


CELL_TURN = 0.008
"""Radians that a cell of the motion grid turns while its parameter goes as far as one footprint."""


@dataclass
class FrameFitConfig:
    """Settings of the fit of a frame; lengths in footprints, the size of a pixel where the scene is."""

    rest_weight: float = 1e-6
    """Cost of a Gaussian that moves, however far."""
    rest_distance: float = 0.4
    """Motion at which half of that is paid, footprints."""
    rigid_weight: float = 2e-3
    """Weight of the squared change of distances between neighbours since frame 0, footprints."""
    neighbours: int = 8
    """Neighbours whose distances are kept."""
    dead_zone: float = 0.6
    """Residuals below this part of a step are not stored; 0.5 rounds."""


class Neighbours(NamedTuple):
    """Nearest Gaussians at frame 0."""

    which: Int64[Tensor, "N k"]
    distance: Float[Tensor, "N k"]
    """World units."""


def neighbours_of(means: Float[Tensor, "N 3"], count: int) -> Neighbours:
    """Find the nearest other points of each."""
    points = means.cpu().numpy()
    distance, which = KDTree(points).query(points, k=count + 1)
    return Neighbours(
        torch.from_numpy(which[:, 1:].astype(np.int64)).to(means.device),
        torch.from_numpy(distance[:, 1:].astype(np.float32)).to(means.device),
    )


class _InView(NamedTuple):
    """The Gaussians of a view as they were, and which of them are free."""

    view: ChangedView
    still: Gaussians
    moving_at: Int64[Tensor, "m"]
    moving: Int64[Tensor, "m"]
    changed_at: Int64[Tensor, "c"]
    changed: Int64[Tensor, "c"]


class FrameFit:
    """Parameters of one frame around the state before it.

    :attr:`grid` carries what moves, in footprints; after :meth:`settle` the residuals :attr:`shift`, in
    footprints, and :attr:`turn`, in radians, and the attributes :attr:`scales`, :attr:`opacities` and
    :attr:`features_dc` are free around that.
    """

    def __init__(
        self,
        state: LatticeGaussians,
        before: Gaussians,
        lattice: Lattice,
        moving: Bool[Tensor, "N"],
        changed: Bool[Tensor, "N"],
        views: list[ChangedView],
        footprint: float,
        config: FrameFitConfig,
    ) -> None:
        """Set the parameters up.

        Args:
            state: The frame before.
            before: The same as the rasteriser takes it.
            lattice: Steps and cells.
            moving: What the motion grid carries.
            changed: Whose attributes may change; what moves is among them.
            views: Crops of the new frame.
            footprint: Size of a pixel where the scene is, world units.
            config: Settings.
        """
        self.state, self.lattice, self.config, self.footprint = state, lattice, config, footprint
        self.device = before.means.device
        self.moving, self.changed = moving.cpu().numpy(), changed.cpu().numpy()
        self.rows = moving.nonzero()[:, 0]
        self.changed_rows = changed.nonzero()[:, 0]
        self.before = before
        start = predicted(state, self.moving)
        self.start = self._floats(start)
        self.levels = [cells_of(start.means, side) for side in lattice.cells]
        self._cells = [torch.from_numpy(level.of).to(self.device) for level in self.levels]
        self._offsets = [
            torch.from_numpy(np.ldexp(level.offset.astype(np.float32), -lattice.means)).to(self.device)
            for level in self.levels
        ]
        count = sum(level.count for level in self.levels)
        self.grid = self._free(count, 6)
        self._units = torch.tensor([footprint] * 3 + [CELL_TURN] * 3, device=self.device)
        self.settled: Carried | None = None
        self.grid_steps = np.zeros((count, 6), np.int64)
        self._settled = self.start
        self.shift, self.turn = self._free(len(self.rows), 3), self._free(len(self.rows), 3)
        scene = {
            name: torch.from_numpy(lattice.to_float(name, vars(state)[name])[self.changed]).to(self.device)
            for name in ATTRIBUTES
        }
        self.scales, self.opacities, self.features_dc = (nn.Parameter(scene[n]) for n in ATTRIBUTES)
        self._in_views = [self._in_view(view) for view in views]
        self._pairs: tuple[Tensor, Tensor, Tensor] | None = None

    def _free(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(*shape, device=self.device))

    def _floats(self, carried: Carried) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 4"]]:
        means = self.lattice.to_float("means", carried.means)
        quats = np.ldexp(carried.quats.astype(np.float32), -QUAT_BITS)
        return torch.from_numpy(means).to(self.device), torch.from_numpy(quats).to(self.device)

    def _in_view(self, view: ChangedView) -> _InView:
        count, device = len(self.moving), self.device
        numbers = []
        for rows in (self.rows, self.changed_rows):
            number = torch.full((count,), -1, dtype=torch.int64, device=device)
            number[rows] = torch.arange(len(rows), device=device)
            own = number[view.gaussians]
            at = (own >= 0).nonzero()[:, 0]
            numbers += [at, own[at]]
        return _InView(view, self.before.select(view.gaussians), *numbers)

    def keep_rigid(self, neighbours: Neighbours, known: Bool[Tensor, "N"]) -> None:
        """Let what moves keep its distances from neighbours that move along, as they were at frame 0.

        Args:
            neighbours: Nearest Gaussians at frame 0.
            known: Gaussians that were there at frame 0.
        """
        number = torch.full((len(self.moving),), -1, dtype=torch.int64, device=self.device)
        number[self.rows] = torch.arange(len(self.rows), device=self.device)
        which, distance = neighbours.which[self.rows], neighbours.distance[self.rows]
        now = (self.before.means[self.rows][:, None] - self.before.means[which]).norm(dim=-1)
        other = number[which]
        # Neighbours that have parted since belong to two bodies.
        held = (other >= 0) & ((now - distance).abs() < 0.3 * distance + 1.2 * self.footprint)
        held &= known[self.rows][:, None] & known[which] & (distance < 20 * self.footprint)
        one, column = held.nonzero(as_tuple=True)
        self._pairs = one, other[one, column], distance[one, column]

    def carried(self) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 4"]]:
        """Return where the grid leads what moves, with gradients."""
        (means, quats), cells = self.start, self.grid * self._units
        turn, first = torch.zeros_like(means), 0
        for level, of, offset in zip(self.levels, self._cells, self._offsets, strict=True):
            motion = cells[first : first + level.count].index_select(0, of)
            means = means + motion[:, :3] + torch.linalg.cross(motion[:, 3:], offset)
            turn = turn + motion[:, 3:]
            first += level.count
        return means, _turned(quats, turn)

    @torch.no_grad()
    def settle(self) -> None:
        """Round the grid; the residuals start from where it leads."""
        bits = np.array([self.lattice.means] * 3 + [TURN_BITS] * 3)
        self.grid_steps = np.rint(np.ldexp(_array(self.grid * self._units), bits)).astype(np.int64)
        self.settled = carry(self.state, self.moving, self.lattice, self.grid_steps)
        self._settled = self._floats(self.settled)

    def placed(self) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 4"]]:
        """Return where what moves is by now, with gradients."""
        if self.settled is None:
            return self.carried()
        means, quats = self._settled
        return means + self.footprint * self.shift, _turned(quats, self.turn)

    def loss(self, number: int, background: Float[Tensor, "3"], sh_degree: int) -> dict[str, Tensor]:
        """Return the losses of one crop."""
        one = self._in_views[number]
        means, quats = self.placed()
        opacities = torch.sigmoid(self.opacities).squeeze(1)
        still = one.still
        colors = still.colors.clone()
        colors[one.changed_at, 0] = self.features_dc.index_select(0, one.changed)

        def moved(values: Tensor, new: Tensor) -> Tensor:
            return values.index_copy(0, one.moving_at, new.index_select(0, one.moving))

        def changed(values: Tensor, new: Tensor) -> Tensor:
            return values.index_copy(0, one.changed_at, new.index_select(0, one.changed))

        now = Gaussians(
            moved(still.means, means),
            moved(still.quats, quats),
            changed(still.scales, self.scales.exp()),
            changed(still.opacities, opacities),
            colors,
        )
        render, alpha = one.view.render(now, colors, sh_degree)
        losses = {"image": image_loss(render, alpha, one.view.image, background, 1, 0.0, one.view.weight)}
        return losses | self._priors(means)

    def _priors(self, means: Float[Tensor, "M 3"]) -> dict[str, Tensor]:
        c, losses = self.config, {}
        if not len(self.rows):
            return losses
        if c.rest_weight:
            far = (means - self.before.means[self.rows]).square().sum(1)
            losses["rest"] = c.rest_weight * (far / (far + (c.rest_distance * self.footprint) ** 2)).sum()
        if c.rigid_weight and self.settled is not None and self._pairs is not None:
            one, other, distance = self._pairs
            change = (means[one] - means[other]).norm(dim=-1) - distance
            squared = (change / self.footprint).square().sum() / len(self.rows)
            losses["rigid"] = c.rigid_weight * squared
        return losses

    @torch.no_grad()
    def planes(self) -> dict[str, np.ndarray]:
        """Return the delta: everything rounded to the lattice."""
        assert self.settled is not None
        zone = self.config.dead_zone
        moving_on, moving_anew = split(self.moving, self.state.moving)
        planes: dict[str, np.ndarray] = {
            "moving_on": moving_on,
            "moving_anew": moving_anew,
            "grid": self.grid_steps.astype(np.int32),
            "shift": rounded(np.ldexp(_array(self.shift * self.footprint), self.lattice.means), zone),
            "turn": rounded(np.ldexp(_array(self.turn), RESIDUAL_BITS), zone),
        }
        gate = np.zeros(int(self.changed.sum()), bool)
        for name in ATTRIBUTES:
            steps = np.ldexp(_array(vars(self)[name]), self.lattice.bits(name))
            planes[name] = rounded(steps - vars(self.state)[name][self.changed], zone)
            gate |= planes[name].any(axis=1)
        for name in ATTRIBUTES:
            planes[name] = planes[name][gate]
        changed = np.zeros(len(self.state), bool)
        changed[np.flatnonzero(self.changed)[gate]] = True
        planes["changed_moving"], planes["changed_resting"] = split(changed, self.moving)
        none = np.zeros(len(self.state), bool)
        planes["replaced"] = none
        for name in ("means", "quats", *ATTRIBUTES, "features_rest"):
            planes[f"new_{name}"] = vars(self.state)[name][none]
        return planes


def _turned(quats: Float[Tensor, "M 4"], turn: Float[Tensor, "M 3"]) -> Float[Tensor, "M 4"]:
    """Turn orientations as the decoder does, but for its rounding."""
    w, v = quats[:, :1], quats[:, 1:]
    real = w - 0.5 * (turn * v).sum(1, keepdim=True)
    return torch.cat([real, v + 0.5 * (turn * w + torch.linalg.cross(turn, v))], 1)


def rounded(steps: np.ndarray, dead_zone: float) -> np.ndarray:
    """Round to whole steps; what is below ``dead_zone`` becomes none."""
    return np.where(np.abs(steps) < dead_zone, 0, np.rint(steps)).astype(np.int32)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
