"""Gaussians carried through time by the keyframe network, and the velocity field that they make."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.gaussians.colors import ColorWaves, carried_colors
from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.scene import GaussianScene, point_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints, farthest_points
from dyn3d_ns.gaussians.skinning import BEND, apply_motions, velocities
from dyn3d_ns.geometry.rotations import normalize_quat, quat_apply, quat_conjugate, quat_multiply
from dyn3d_ns.io.errors import UserError

SOLID = 0.1
"""Opacity from which on a Gaussian counts as matter that moves."""
NEIGHBOURS = 8
"""Gaussians that a point's velocity is taken from."""
CERTAIN = 60.0
"""Logit of the motion that a Gaussian follows alone; the others' weights are zero in single precision."""


class MotionState(NamedTuple):
    """Where the Gaussians are at one time."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]


def initial_parameters(
    seeds: SeedPoints,
    pivots: Float[Tensor, "K 3"],
    sh_degree: int,
    color_modes: int,
    opacity: float,
    max_scale: float,
    latents: int = 0,
) -> dict[str, Tensor]:
    """Make the per-Gaussian tensors from seed points, all at rest in the canonical time.

    Args:
        seeds: Positions and colours.
        pivots: Pivots of the motions; Gaussians start with a preference for the motion whose pivot is near.
        sh_degree: Degree of the view-dependent colour.
        color_modes: Functions of time that the base colour may follow.
        opacity: Starting opacity, in 0..1.
        max_scale: Largest starting standard deviation, world units.
        latents: Latent motions that bend what they carry.
    """
    n = len(seeds.positions)
    params = point_parameters(seeds, sh_degree, opacity, max_scale)
    spare = seeds.positions.new_zeros(n, 0)
    distances = torch.cdist(seeds.positions, pivots[1:]) if len(pivots) > 1 else spare
    nearness = -2.0 * (distances / distances.mean().clamp_min(1e-6)).square()
    params["motion_codes"] = torch.cat([torch.zeros(n, 1), nearness], dim=1)
    params["bends"] = torch.zeros(n, latents, BEND)
    if color_modes:
        params["color_changes"] = torch.zeros(n, color_modes, 3)
    return params


def spread_pivots(points: Float[Tensor, "N 3"], count: int) -> Float[Tensor, "K 3"]:
    """Place the pivots of ``count`` motions: the centre for rest, then points that lie far apart."""
    sample = points[:: max(len(points) // 4000, 1)]
    return torch.cat([sample.mean(0, keepdim=True), farthest_points(sample, count - 1)])


class CarriedScene(GaussianScene):
    """Gaussians in a canonical time, and the motions that carry them to any other time.

    A Gaussian mixes the motions by its code (``motion_codes``, logits) and bends before that by its own
    coefficients of the latent motions (``bends``): ``x = sum_k z_k [R_k (p + sum_j b_kj c_j) + t_k]``. Its
    velocity is the rate of that. For one code and one bend the field is a rigid twist and a shift, so that
    its gradient is antisymmetric and its divergence zero (FreeGave, section 3.2).
    """

    def __init__(
        self,
        params: dict[str, Tensor],
        motions: KeyframeMotions,
        waves: ColorWaves | None = None,
        turn_colors: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            params: Per-Gaussian tensors of :func:`initial_parameters`, each with N rows.
            motions: K motions.
            waves: What ``color_changes`` follow; None where colours do not change.
            turn_colors: Turn the view dependence with the orientations.
        """
        super().__init__(params)
        self.motions = motions
        self.waves, self.turn_colors = waves, turn_colors
        self._codes: tuple[Tensor, int, Tensor] | None = None
        self.register_buffer("resting", torch.zeros(0, dtype=torch.bool))

    resting: Bool[Tensor, "N"]
    """Gaussians that were found to stay where they are; empty until that is known."""

    def at(self, t: float) -> Gaussians:
        """Return the scene at any time, with velocities, orientations of length one and what moves."""
        codes = self.codes()
        state = self.deform(t, codes)
        known = len(self.resting) == len(self)
        return replace(
            self.gaussians_of(state, t),
            quats=torch.nn.functional.normalize(state.quats, dim=-1),
            velocities=self.velocities(t, codes),
            dynamic=~self.resting if known else torch.ones_like(state.means[:, 0], dtype=torch.bool),
        )

    def training_at(self, t: float) -> Gaussians:
        """Return the scene at an observed time with gradients."""
        return self.gaussians_of(self.deform(t, self.codes()), t)

    def laid_out(self) -> Gaussians:
        """Return the Gaussians as their parameters have them, at no time but the canonical one."""
        params = self.params
        return Gaussians(params["means"], params["quats"], self.scales, self.opacities, self.colors)

    def gaussians_of(self, state: MotionState, t: float) -> Gaussians:
        """Return the Gaussians that lie as a state says, with the colours of a time."""
        return Gaussians(
            means=state.means,
            quats=state.quats,
            scales=self.scales,
            opacities=self.opacities,
            colors=self.colors_at(t, state.quats),
        )

    def colors_at(self, t: float, quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N K 3"]:
        """Return the SH coefficients at a time, when the Gaussians lie as in ``quats``."""
        base, rest = self.params["features_dc"], self.params["features_rest"]
        if self.waves is None:
            changes, waves = rest.new_zeros(rest.shape[0], 0, 3), rest.new_zeros(0)
        else:
            changes, waves = self.params["color_changes"], self.waves.at(t, rest)
        return carried_colors(
            base, changes, rest, waves, (quats, self.params["quats"]) if self.turn_colors else None
        )

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], t: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of the matter at points of the scene, world units per unit of time.

        A point moves with the Gaussians around it: each carries it along with its own place and turns it
        about that; the nearest ones are weighted by their opacity and their density at the point.
        """
        gaussians = self.at(t)
        solid = torch.nonzero(gaussians.opacities > SOLID)[:, 0]
        if len(solid) == 0:
            return torch.zeros_like(points)
        neighbours = min(NEIGHBOURS, len(solid))
        tree = KDTree(gaussians.means[solid].cpu().numpy())
        found = torch.from_numpy(tree.query(points.cpu().numpy(), k=neighbours)[1]).view(len(points), -1)
        index = solid[found.to(solid)]
        offsets = points[:, None] - gaussians.means[index]
        axes = gaussians.scales[index].clamp_min(1e-4)
        local = quat_apply(quat_conjugate(gaussians.quats[index]), offsets) / axes
        weights = torch.softmax(-0.5 * local.square().sum(-1) + gaussians.opacities[index].log(), dim=1)
        spins = (self.codes() @ self.motions.twists(t)[:, 3:])[index]
        velocity = gaussians.motion[index] + torch.linalg.cross(spins, offsets)
        velocity = velocity * gaussians.moving[index][..., None]
        return (weights[..., None] * velocity).sum(1)

    def codes(self) -> Float[Tensor, "N K"]:
        """Return the weights of the motions in each Gaussian, which add up to one."""
        logits = self.params["motion_codes"]
        if logits.requires_grad and torch.is_grad_enabled():
            return torch.softmax(logits, dim=-1)
        kept = self._codes
        if kept is None or kept[0] is not logits or kept[1] != logits._version:
            kept = self._codes = logits, logits._version, torch.softmax(logits.detach(), dim=-1)
        return kept[2]

    @torch.no_grad()
    def freeze_static(self, times: Sequence[float], threshold: float) -> int:
        """Keep every Gaussian for good that stays within ``threshold`` of its canonical place, and whose
        longest axis ends do as well.

        Args:
            times: Observed times to look at.
            threshold: Distance in world units.

        Returns:
            The number of Gaussians at rest.
        """
        self.resting = torch.zeros(len(self), dtype=torch.bool, device=self.resting.device)
        codes, means, quats = self.codes(), self.params["means"], normalize_quat(self.params["quats"])
        longest, reach = self.scales.amax(1), torch.zeros_like(means[:, 0])
        for t in times:
            state = self.deform(t, codes)
            turn = quat_multiply(normalize_quat(state.quats), quat_conjugate(quats))
            away = (state.means - means).norm(dim=-1) + 2 * longest * turn[:, 1:].norm(dim=-1)
            reach = torch.maximum(reach, away)
        self.resting = reach < threshold
        return int(self.resting.sum())

    def _hold_resting(self, state: MotionState) -> MotionState:
        """Put the Gaussians at rest back to their canonical place, once it is known which they are."""
        if len(self.resting) != len(self) or not bool(self.resting.any()):
            return state
        rest, params = self.resting[:, None], self.params
        means = torch.where(rest, params["means"], state.means)
        quats = torch.where(rest, params["quats"], state.quats)
        return state._replace(means=means, quats=quats)

    def velocities(self, t: float, codes: Float[Tensor, "N K"]) -> Float[Tensor, "N 3"]:
        """Return how fast each Gaussian moves at a time, world units per unit of time; 0 for those at
        rest."""
        motions, params = self.motions, self.params
        rates = motions.table_rates(t)
        moving = velocities(codes, motions.table(t), rates, params["bends"], params["means"])
        return moving * ~self.resting[:, None] if len(self.resting) == len(self) else moving

    def uncertainties(self, t: float) -> Float[Tensor, "N"]:
        """Return how far each Gaussian is expected to be off at a time, world units (root mean square); 0 at
        observed times."""
        off = self.codes() @ self.motions.errors(t)
        return off * ~self.resting if len(self.resting) == len(self) else off

    def deform(self, t: float, codes: Float[Tensor, "N K"]) -> MotionState:
        """Carry the canonical Gaussians to a time."""
        params = self.params
        table = self.motions.table(t)
        moved = apply_motions(codes, table, params["bends"], params["means"], params["quats"])
        return self._hold_resting(MotionState(*moved))

    def forget(self) -> None:
        """Drop the codes that are kept, as after a change of the parameters."""
        self._codes = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Resize what is known of the Gaussians at rest as well.

        Raises:
            UserError: the checkpoint is of a version whose motions were others.
        """
        if f"{prefix}params.means" in state_dict and f"{prefix}params.bends" not in state_dict:
            raise UserError(
                "the checkpoint was made with an earlier dyn3d_ns, whose dyn3d-velocity had other motions: "
                "train again"
            )
        resting = state_dict.get(f"{prefix}resting")
        if resting is not None:
            self.resting = torch.zeros_like(resting, device=self.resting.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
