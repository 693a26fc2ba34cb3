"""``dyn3d-velocity``: Gaussians carried by a keyframe network and a velocity field.

Observed times are reached by deforming the canonical Gaussians with shared rigid motions of time (the
keyframe network), the future by integrating a velocity field of rigid twists. The field is trained by
FreeGave's deform-then-advect step, and set by least squares to the learned motions' rates, with the
continuation that back-testing prefers.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.fields.continuation import MAX_DEGREE
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField
from dyn3d_ns.fields.velocity_fit import fit_velocity
from dyn3d_ns.gaussians.carried import (
    CarriedGaussians,
    MotionState,
    SharedMotions,
    StoredCodes,
    initial_parameters,
    spread_pivots,
)
from dyn3d_ns.gaussians.colors import carried_colors
from dyn3d_ns.gaussians.seeds.points import (
    MIN_VIEWS,
    SeedPoints,
    hull_points,
    join_views,
    random_points,
    views_of,
)
from dyn3d_ns.gaussians.seeds.stereo import stereo_points
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.losses.photometric import mean_absolute_error, recorded_image
from dyn3d_ns.losses.ssim import ssim
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig
from dyn3d_ns.rendering import rasterize

MAX_KEPT_TIMES = 4096
"""Times whose small tables are kept."""


class TrainingView(NamedTuple):
    """What a step needs of a training camera."""

    time: float
    viewmats: Float[Tensor, "1 4 4"]
    Ks: Float[Tensor, "1 3 3"]
    width: int
    height: int


@dataclass
class Dyn3DVelocityModelConfig(GaussianModelConfig):
    """Settings of the Gaussian method with shared rigid motions."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityModel)
    """Target class to instantiate."""
    num_motions: int = 16
    """Rigid motions that the Gaussians share, rest included."""
    keyframes: int = 6
    """Spline intervals over the observed time, for what a cubic polynomial of time cannot follow."""
    color_modes: int = 3
    """Cosines of time that the base colour may follow; 0 for colours that do not change."""
    turn_colors: bool = True
    """Turn the view dependence with the matter, so that a side keeps its colour as it comes round."""
    canonical_part: float = 0.08
    """Part of the training that sees only the canonical time, the middle of the observed one."""
    curriculum_part: float = 0.35
    """Part of the training by the end of which the allowed times have widened to all observed ones."""
    half_resolution_part: float = 0.3
    """Part of the training that renders at half resolution."""
    advect_probability: float = 0.1
    """Share of the steps that deform to a neighbouring time and move on from there with the velocity
    field."""
    ssim_weight: float = 0.0
    """Weight of structural dissimilarity beside the absolute error, 0..1."""
    jerk_weight: float = 1e-2
    """Weight of the motions' third derivative (world units and radians, half of the observed time as the
    unit)."""
    opacity_weight: float = 3e-3
    """Weight of the mean opacity (3DGS-MCMC, equation 10); what no camera sees fades and is relocated."""
    holdout: float = 0.25
    """Part of the observed time that is predicted to choose each motion's continuation."""
    freeze_distance: float = 0.001
    """Gaussians that stay within this fraction of the scene's extent are frozen at the end."""


class Dyn3DVelocityModel(GaussianModel):
    """Gaussians carried by shared rigid motions and a velocity field of twists."""

    config: Dyn3DVelocityModelConfig

    def populate_modules(self) -> None:
        """Build the motions; the Gaussians start as random points until :meth:`initialize` sees the
        images."""
        super().populate_modules()
        observed = [t for t in self.timeline.frame_times if t <= self.timeline.t_obs + 1e-6]
        self.observed_times = observed
        self.canonical_index = self._canonical_index(len(observed))
        self.canonical_time = observed[self.canonical_index]
        self.color_phases = torch.arange(1, self.config.color_modes + 1) * torch.pi
        self.total_steps = 1
        self._kept_waves: dict[float, Tensor] = {}
        self._training_views: dict[tuple[int, int], TrainingView] = {}
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        self._build_scene(self._seeds_without_images(generator))

    def _canonical_index(self, observed: int) -> int:
        """Return the frame of the canonical time: the middle one, so that no motion has far to go."""
        return observed // 2

    def _seeds_without_images(self, generator: torch.Generator) -> SeedPoints:
        if self.seed_points is not None and not self.config.random_init:
            xyz, rgb = self.seed_points
            keep = torch.randperm(len(xyz), generator=generator)[: self.config.max_gaussians]
            return SeedPoints(xyz[keep].float().cpu(), rgb[keep].float().cpu() / 255.0)
        return random_points(self.scene_box.aabb.float().cpu(), self.config.max_gaussians, generator)

    def _build_scene(self, seeds: SeedPoints) -> None:
        c, t_min, t_obs = self.config, self.observed_times[0], self.timeline.t_obs
        extent = float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).norm())
        pivots = spread_pivots(seeds.positions, c.num_motions)
        params = initial_parameters(
            seeds, pivots, c.sh_degree, c.color_modes, opacity=0.3, max_scale=0.03 * extent
        )
        basis = TimeBasis(self.canonical_time, t_min, t_obs, degrees=(1, 2, 3), keyframes=c.keyframes)
        degrees = tuple(range(MAX_DEGREE + 1))
        rates = TimeBasis(
            self.canonical_time, t_min, t_obs, degrees, 2 * c.keyframes, anchored=False, vanishing=True
        )
        motions = KeyframeMotions(basis, pivots)
        velocity = BasisVelocityField(rates, c.num_motions)
        self.scene = CarriedGaussians(
            params, StoredCodes(), SharedMotions(motions), velocity, t_obs, self.timeline.dt
        )

    @property
    def motions(self) -> KeyframeMotions:
        """The keyframe network."""
        return cast(SharedMotions, self.scene.deformation).motions

    def initialize_from(self, datamanager: DynamicDataManager) -> None:
        """Start on the scene's surfaces as the images show them, where there is no point cloud.

        With masks that is the visual hull, without them what plane-sweep stereo finds. Three or more views of
        the canonical time are taken; of a single moving camera views of all times. Where neither finds enough
        the random points stay.
        """
        views = views_of(*datamanager.images_at(self.canonical_index))
        if not self.has_alpha:
            self.eval_background.copy_(views.images.float().mean((0, 1, 2)) / 255.0)
        if self.seed_points is not None and not self.config.random_init:
            return
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        together = len(views.images) >= MIN_VIEWS
        if not together:
            spread = np.linspace(0, len(self.observed_times) - 1, min(len(self.observed_times), 48)).round()
            views = join_views([views_of(*datamanager.images_at(int(i))) for i in spread])
        box, count = self.scene_box.aabb.float().cpu(), self.config.max_gaussians
        if self.has_alpha:
            seeds = hull_points(views, box, count, generator, tolerance=0.0 if together else 0.1)
        else:
            # The cameras of a room leave its extent uncertain; a wider box costs only candidates.
            wider = box.mean(0) + 1.3 * (box - box.mean(0))
            seeds = stereo_points(views, wider, count)
        if seeds is not None:
            self._build_scene(seeds)
            self.to(self.eval_background.device)

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return one group per Gaussian tensor (gsplat's strategies need that), the motions and the velocity
        field."""
        groups = {name: [parameter] for name, parameter in self.scene.params.items()}
        return groups | {
            "motions": list(self.motions.parameters()),
            "velocity": list(self.scene.velocity.parameters()),
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Add the time curriculum, densification and the fit of the velocity field to the training loop."""
        attributes = training_callback_attributes
        assert attributes.trainer is not None and attributes.optimizers is not None
        self.total_steps = attributes.trainer.config.max_num_iterations
        self.start_densification(self.total_steps, attributes.optimizers.optimizers)
        before, after = (
            TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
            TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
        )
        return [TrainingCallback([before], self.before_step), TrainingCallback([after], self.after_step)]

    def time_window(self, step: int) -> tuple[float, float]:
        """Return the times that may be drawn at a step: the canonical one, then wider and wider around it."""
        c, q = self.config, step / self.total_steps
        first, last = self.observed_times[0], self.timeline.t_obs
        part = (q - c.canonical_part) / max(c.curriculum_part - c.canonical_part, 1e-6)
        part = min(max(part, 0.0), 1.0)
        return (
            self.canonical_time - part * (self.canonical_time - first),
            self.canonical_time + part * (last - self.canonical_time),
        )

    def before_step(self, step: int) -> None:
        """Note the step that is about to run."""
        self.step = step

    def after_step(self, step: int) -> None:
        """Densify; at the end freeze what rests and fit the velocity field."""
        self.densify(step)
        if step == self.total_steps - 1:
            self.finish_motion()

    def _downscale(self) -> int:
        return 2 if self.training and self.step < self.config.half_resolution_part * self.total_steps else 1

    def colors_at(self, t: float, quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N K 3"]:
        """Return the SH coefficients at ``t``; beyond the observed time the base colours hold their last
        value."""
        params = self.scene.params
        base, rest = params["features_dc"], params["features_rest"]
        changes = params["color_changes"] if self.config.color_modes else rest.new_zeros(rest.shape[0], 0, 3)
        turn = (quats, params["quats"]) if self.config.turn_colors else None
        return carried_colors(base, changes, rest, self._color_waves(t), turn)

    def _color_waves(self, t: float) -> Float[Tensor, "M"]:
        """Return the cosines of time that the base colour follows."""
        kept = self._kept_waves.get(t)
        if kept is None:
            first, last = self.observed_times[0], self.timeline.t_obs
            phase = (min(max(t, first), last) - first) / max(last - first, 1e-6)
            kept = torch.cos(self.color_phases * phase).to(self.eval_background)
            if len(self._kept_waves) < MAX_KEPT_TIMES:
                self._kept_waves[t] = kept
        return kept

    def _training_state(self, t: float, codes: Float[Tensor, "N K"]) -> MotionState:
        """Deform to ``t``; in some steps deform to a neighbouring frame and advect from there (FreeGave,
        section 3.3)."""
        if (
            torch.rand(()).item() >= self.config.advect_probability
            or self.step < self.config.canonical_part * self.total_steps
        ):
            return self.scene.deform(t, codes)
        step = self.timeline.dt if torch.rand(()).item() < 0.5 else -self.timeline.dt
        start = min(max(t + step, self.observed_times[0]), self.timeline.t_obs)
        return self.scene.advect(self.scene.deform(start, codes), start, t, codes)

    def _training_view(self, camera: Cameras) -> TrainingView:
        """Return what a step needs of a training camera, made once for each camera and resolution."""
        scale, index = self._downscale(), (camera.metadata or {}).get("cam_idx", -1)
        view = self._training_views.get((index, scale))
        if view is not None:
            return view
        Ks = camera.get_intrinsics_matrices().to(self.device)
        view = TrainingView(
            self._time_of(camera),
            viewmats_of(camera.camera_to_worlds),
            Ks / Ks.new_tensor([[scale], [scale], [1.0]]),
            int(camera.width.item()) // scale,
            int(camera.height.item()) // scale,
        )
        if index >= 0:
            self._training_views[index, scale] = view
        return view

    def get_training_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a training camera at its time on a random background."""
        view, params = self._training_view(camera), self.scene.params
        codes = self.scene.codes()
        state = self._training_state(view.time, codes)
        scales = params["scales"].exp()
        opacities = torch.sigmoid(params["opacities"])
        render, alpha, info = rasterize(
            state.means,
            state.quats,
            scales if state.scale_factors is None else scales * state.scale_factors,
            opacities.squeeze(1),
            self.colors_at(view.time, state.quats),
            view.viewmats,
            view.Ks,
            view.width,
            view.height,
            near_plane=self.config.camera_near,
            packed=False,
            sh_degree=self.config.sh_degree,
        )
        self.watch_gradients(info)
        background = torch.rand(3, device=alpha.device) if self.has_alpha else self.eval_background
        return {
            "render": render.squeeze(0),
            "accumulation": alpha.squeeze(0),
            "background": background,
            "opacities": opacities,
        }

    def image_loss(self, outputs: dict[str, Any], batch: dict[str, Any]) -> Float[Tensor, ""]:
        """Compare with the recorded image: ``(1 - w) L1 + w (1 - SSIM)`` (3DGS, equation 7)."""
        render, alpha, scale = outputs["render"], outputs["accumulation"], self._downscale()
        image, background = batch["image"].to(render.device), outputs["background"]
        error = mean_absolute_error(render, alpha, image, background, scale)
        weight = self.config.ssim_weight
        if not weight:
            return error
        truth = recorded_image(image, background, scale)
        return (1 - weight) * error + weight * (1 - ssim(render + (1 - alpha) * background, truth))

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the image loss and the regularisers, each times its weight."""
        c = self.config
        losses = {"image": self.image_loss(outputs, batch)}
        if c.jerk_weight:
            losses["jerk"] = self.motions.jerk(c.jerk_weight)
        if c.opacity_weight:
            losses["opacity"] = c.opacity_weight * outputs["opacities"].mean()
        return losses

    @torch.no_grad()
    def finish_motion(self) -> None:
        """Freeze what rests, and set the velocity field to the motions' rates and their best continuation."""
        extent = float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).norm())
        times = list(np.linspace(self.observed_times[0], self.timeline.t_obs, 13))
        resting = self.scene.freeze_static(times, self.config.freeze_distance * extent)
        lines = self._settle_motion()
        speeds = torch.stack(
            [self.gaussians_at(t).velocities.norm(dim=-1).quantile(0.98) for t in times[::4]]
        )
        self.top_speed.fill_(speeds.max())
        CONSOLE.log("\n".join([f"{resting} of {len(self.scene)} Gaussians are at rest", *lines]))

    def _settle_motion(self) -> list[str]:
        """Fit the velocity field to the motions by least squares; returns a line for each."""
        points, mass = self.scene.params["means"], torch.sigmoid(self.scene.params["opacities"][:, 0])
        field = cast(BasisVelocityField, self.scene.velocity)
        chosen = fit_velocity(field, self.motions, points, self.scene.codes(), mass, self.config.holdout)
        kinds = Counter(c.candidate.describe() for c in chosen).most_common()
        worst = max((c.error for c in chosen), default=0.0)
        return [
            f"{len(chosen)} motions go on, back-tested to within {worst:.3f} world units:",
            *(f"  {count} x {kind}" for kind, count in kinds),
        ]
