"""What a frame may change of the Gaussians: a motion grid first, then residuals around what it leads to."""

from __future__ import annotations

import math
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
    CELL_BITS,
    QUAT_BITS,
    RESIDUAL_BITS,
    Carried,
    Lattice,
    LatticeGaussians,
    carry,
    cells_of,
    predicted,
    split,
)
from dyn3d_ns.geometry.rotations import normalize_quat, quat_apply
from dyn3d_ns.losses.photometric import mean_absolute_error
from dyn3d_ns.models.stream.views import ChangedView

CELL_TURN = 0.008
"""Radians that a cell of the motion grid turns while its parameter goes as far as one footprint."""


_NOTABLE_TOTAL = 2.0
"""Pixels' worth of light, over all views, from which on the error in it says something."""
LOOKS = 3
"""One in so many crops is looked at for errors."""
_SHRINK = 1.6
"""Factor by which a Gaussian that is split in two shrinks (3D Gaussian Splatting, section 5.2)."""


@dataclass
class FrameFitConfig:
    """Settings of the fit of a frame; lengths in footprints, the size of a pixel where the scene is."""

    rest_weight: float = 1e-6
    """Cost of a Gaussian that moves, however far."""
    rest_distance: float = 0.4
    """Motion at which half of that is paid, footprints."""
    rigid_weight: float = 2e-4
    """Weight of the squared change of distances between neighbours since frame 0, footprints."""
    neighbours: int = 8
    """Neighbours whose distances are kept."""
    renewed: int = 16
    """Most Gaussians that a frame replaces: faint ones are put where the error is greatest."""
    renew_error: float = 0.12
    """Mean error over a Gaussian's light, colours in 0..1, from which it is split with the help of one."""
    faint: float = 0.05
    """Opacity below which a Gaussian may be put elsewhere."""
    dead_zone: float = 0.8
    """Residuals below this part of a step are not stored; 0.5 rounds."""


class Neighbours(NamedTuple):
    """Nearest Gaussians at frame 0."""

    which: Int64[Tensor, "N k"]
    distance: Float[Tensor, "N k"]
    """World units."""


def neighbours_of(means: Float[Tensor, "N 3"], count: int) -> Neighbours:
    """Find the nearest other points of each."""
    points = means.cpu().numpy()
    found = KDTree(points).query(points, k=count + 1)
    distance, which = np.asarray(found[0]), np.asarray(found[1])
    return Neighbours(
        torch.from_numpy(which[:, 1:].astype(np.int64)).to(means.device),
        torch.from_numpy(distance[:, 1:].astype(np.float32)).to(means.device),
    )


class _InView(NamedTuple):
    """The Gaussians of a view as they were, and which of them are free."""

    view: ChangedView
    rows: Int64[Tensor, "n"]
    """Numbers of the view's Gaussians."""
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
        self._rows_now, self._changed_now = self.rows, self.changed_rows
        self._rest = before.colors[:0, 1:]
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
        scene = (lattice.to_float(name, vars(state)[name])[self.changed] for name in ATTRIBUTES)
        self.scales, self.opacities, self.features_dc = (
            nn.Parameter(torch.from_numpy(values).to(self.device)) for values in scene
        )
        # What rests keeps its size: it is only passed before, or lit otherwise.
        self._of_moving = torch.searchsorted(self.changed_rows, self.rows)
        self.views = views
        self.replaced = np.zeros(len(state), bool)
        self._in_views = [self._in_view(view, view.gaussians) for view in views]
        self._pairs: tuple[Tensor, Tensor, Tensor] | None = None

    def _free(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(*shape, device=self.device))

    def _floats(self, carried: Carried) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 4"]]:
        means = self.lattice.to_float("means", carried.means)
        quats = np.ldexp(carried.quats.astype(np.float32), -QUAT_BITS)
        return torch.from_numpy(means).to(self.device), torch.from_numpy(quats).to(self.device)

    def _in_view(self, view: ChangedView, own: Int64[Tensor, "n"]) -> _InView:
        numbers = []
        for rows in (self._rows_now, self._changed_now):
            number = torch.full((len(self.moving),), -1, dtype=torch.int64, device=self.device)
            number[rows] = torch.arange(len(rows), device=self.device)
            at = (number[own] >= 0).nonzero()[:, 0]
            numbers += [at, number[own][at]]
        return _InView(view, own, self.before.select(own), *numbers)

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
        # The sum keeps a grid without cells a part of the graph.
        turn, first = torch.zeros_like(means) + 0.0 * cells.sum(), 0
        means = means + turn
        for level, of, offset in zip(self.levels, self._cells, self._offsets, strict=True):
            motion = cells[first : first + level.count].index_select(0, of)
            means = means + motion[:, :3] + torch.linalg.cross(motion[:, 3:], offset)
            turn = turn + motion[:, 3:]
            first += level.count
        return means, _turned(quats, turn)

    @torch.no_grad()
    def settle(self) -> None:
        """Round the grid; the residuals start from where it leads."""
        bits = np.array([self.lattice.means] * 3 + [CELL_BITS] * 3)
        self.grid_steps = np.rint(np.ldexp(_array(self.grid * self._units), bits)).astype(np.int64)
        self.settled = carry(self.state, self.moving, self.lattice, self.grid_steps)
        self._settled = self._floats(self.settled)

    @torch.no_grad()
    def renew(
        self,
        background: Float[Tensor, "3"],
        sh_degree: int,
        generator: torch.Generator,
        looked_at: int = 0,
    ) -> None:
        """Put faint Gaussians beside those at rest in whose light the error is greatest, and so split these.

        What moves is left alone: a new part of it would have to learn its motion first.

        Args:
            background: Colour behind the scene.
            sh_degree: Degree of the colours.
            generator: Where in what is split the new ones come to lie.
            looked_at: First of the crops that are looked at, every third.
        """
        c, count = self.config, len(self.moving)
        mass, total = torch.zeros(count, device=self.device), torch.zeros(count, device=self.device)
        means, quats = self.placed()
        for one in self._in_views[looked_at::LOOKS]:
            now = self._seen(one, means, quats)
            image, alpha = one.view.render(now, now.colors, sh_degree)
            shown = image + (1 - alpha) * background - one.view.image.float() / 255.0
            weights = (
                torch.stack([shown.abs().mean(-1), torch.ones_like(shown[..., 0])], -1) * one.view.weight
            )
            light = one.view.light(now, weights)
            mass.index_add_(0, one.rows, light[:, 0])
            total.index_add_(0, one.rows, light[:, 1])
        changed, moving = (torch.from_numpy(m).to(self.device) for m in (self.changed, self.moving))
        poor = changed & ~moving & (mass > c.renew_error * total) & (total > _NOTABLE_TOTAL)
        faint = (self.before.opacities < c.faint) & ~(changed | moving)
        number = min(c.renewed, int(poor.sum()), int(faint.sum()))
        if number:
            sources = torch.where(poor, mass, -1.0).topk(number).indices
            places = torch.where(faint, self.before.opacities, 2.0).topk(number, largest=False).indices
            self._split(sources, places, means, quats, generator)

    def _split(
        self,
        sources: Int64[Tensor, "R"],
        places: Int64[Tensor, "R"],
        means: Tensor,
        quats: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Put each of ``places`` into the ellipsoid of one of ``sources``; both take 1 / 1.6 of its size."""
        self.replaced[places.cpu().numpy()] = True
        places = torch.from_numpy(np.flatnonzero(self.replaced)).to(self.device)
        at = torch.searchsorted(self.changed_rows, sources)
        turn = self.before.quats[sources]
        spread = torch.randn(len(sources), 3, generator=generator).to(self.device) * self.scales[at].exp()
        where = self.before.means[sources] + quat_apply(normalize_quat(turn), spread)
        self.scales[at] -= math.log(_SHRINK)
        self.before.scales[sources] /= _SHRINK
        self._settled = torch.cat([means, where]), torch.cat([quats, turn])
        self._rest = self.before.colors[sources][:, 1:]
        self.shift, self.turn = (
            self._free(len(means) + len(places), 3),
            self._free(len(means) + len(places), 3),
        )
        self.scales, self.opacities, self.features_dc = (
            nn.Parameter(torch.cat([values, values[at]]))
            for values in (self.scales, self.opacities, self.features_dc)
        )
        kept = torch.ones(len(self.moving), dtype=torch.bool, device=self.device)
        kept[places] = False
        self.before.colors[places] = self.before.colors[sources]
        self._rows_now = torch.cat([self.rows, places])
        self._changed_now = torch.cat([self.changed_rows, places])
        anew = torch.arange(len(places), device=self.device) + len(self.changed_rows)
        self._of_moving = torch.cat([self._of_moving, anew])
        self._in_views = [
            self._in_view(view, torch.cat([view.gaussians[kept[view.gaussians]], places]))
            for view in self.views
        ]

    def placed(self) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 4"]]:
        """Return where what moves is by now, with gradients."""
        if self.settled is None:
            return self.carried()
        means, quats = self._settled
        return means + self.footprint * self.shift, _turned(quats, self.turn)

    def _seen(self, one: _InView, means: Float[Tensor, "M 3"], quats: Float[Tensor, "M 4"]) -> Gaussians:
        """Return a crop's Gaussians as they are by now, with gradients, given those that move."""
        opacities = torch.sigmoid(self.opacities).squeeze(1)
        still = one.still
        colors = still.colors.clone()
        colors[one.changed_at, 0] = self.features_dc.index_select(0, one.changed)

        def moved(values: Tensor, new: Tensor) -> Tensor:
            return values.index_copy(0, one.moving_at, new.index_select(0, one.moving))

        def changed(values: Tensor, new: Tensor) -> Tensor:
            return values.index_copy(0, one.changed_at, new.index_select(0, one.changed))

        return Gaussians(
            moved(still.means, means),
            moved(still.quats, quats),
            moved(still.scales, self.scales.index_select(0, self._of_moving).exp()),
            changed(still.opacities, opacities),
            colors,
        )

    def loss(self, number: int, background: Float[Tensor, "3"], sh_degree: int) -> dict[str, Tensor]:
        """Return the losses of one crop."""
        one, (means, quats) = self._in_views[number], self.placed()
        now = self._seen(one, means, quats)
        render, alpha = one.view.render(now, now.colors, sh_degree)
        image = mean_absolute_error(render, alpha, one.view.image, background, weight=one.view.weight)
        return {"image": image, **self._priors(means)}

    def _priors(self, means: Float[Tensor, "M 3"]) -> dict[str, Tensor]:
        c, losses = self.config, {}
        if not len(self.rows):
            return losses
        if c.rest_weight:
            far = (means[: len(self.rows)] - self.before.means[self.rows]).square().sum(1)
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
        zone, moves, changes = self.config.dead_zone, len(self.rows), len(self.changed_rows)
        moving_on, moving_anew = split(self.moving, self.state.moving)
        shift = np.ldexp(_array(self.shift * self.footprint)[:moves], self.lattice.means)
        planes: dict[str, np.ndarray] = {
            "moving_on": moving_on,
            "moving_anew": moving_anew,
            "grid": self.grid_steps.astype(np.int32),
            "shift": rounded(shift, zone),
            "turn": rounded(np.ldexp(_array(self.turn)[:moves], RESIDUAL_BITS), zone),
            "replaced": self.replaced,
        }
        steps = {name: np.ldexp(_array(vars(self)[name]), self.lattice.bits(name)) for name in ATTRIBUTES}
        gate = np.zeros(changes, bool)
        for name, values in steps.items():
            planes[name] = rounded(values[:changes] - vars(self.state)[name][self.changed], zone)
            gate |= planes[name].any(axis=1)
        for name in ATTRIBUTES:
            planes[name] = planes[name][gate]
        changed = np.zeros(len(self.state), bool)
        changed[np.flatnonzero(self.changed)[gate]] = True
        planes["changed_moving"], planes["changed_resting"] = split(changed, self.moving)
        means, quats = self.placed()
        planes["new_means"] = self.lattice.to_int("means", _array(means[moves:]))
        planes["new_quats"] = self.lattice.to_int("quats", _array(normalize_quat(quats[moves:])))
        planes["new_features_rest"] = self.lattice.to_int("features_rest", _array(self._rest))
        planes |= {f"new_{name}": rounded(values[changes:], 0.5) for name, values in steps.items()}
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
