"""What every Gaussian method of the toolkit shares with Nerfstudio: outputs, densification, checkpoints, the
viewer.

A method fills ``self.scene`` (a :class:`~dyn3d_ns.gaussians.carried.CarriedGaussians`) and its losses. The
class extends ``SplatfactoModel`` since Nerfstudio's viewer and exporter test for it, and replaces what there
needs CUDA or a download.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig
from scipy.spatial import KDTree
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn3d_ns.engine.device import use_cpu_threads
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.carried import CarriedGaussians
from dyn3d_ns.gaussians.densify import DefaultStrategy, MCMCStrategy
from dyn3d_ns.geometry.cameras import project, to_camera, viewmats_of
from dyn3d_ns.geometry.rotations import quat_apply, quat_conjugate
from dyn3d_ns.metrics.image import compare
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.rendering import rasterize
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.colors import flow_colors, velocity_colors
from dyn3d_ns.viewer.playback import TimePlayback

SOLID = 0.1
"""Opacity from which on a Gaussian counts as matter that moves."""
NEIGHBOURS = 8
"""Gaussians that a point's velocity is taken from."""


def make_strategy(
    kind: Literal["mcmc", "default", "none"], cap: int, steps: int
) -> DefaultStrategy | MCMCStrategy | None:
    """Make a densification strategy whose schedule follows the length of the training.

    Args:
        kind: ``mcmc`` relocates dead Gaussians and grows to ``cap``; ``default`` splits, clones and prunes by
            image-plane gradient.
        cap: Most Gaussians of ``mcmc``.
        steps: Steps of the training; refinement runs from a tenth to seven tenths of it.
    """
    start, stop = steps // 10, 7 * steps // 10
    if kind == "mcmc":
        return MCMCStrategy(cap_max=cap, refine_start_iter=start, refine_stop_iter=stop, min_opacity=0.01)
    if kind == "default":
        return DefaultStrategy(refine_start_iter=start, refine_stop_iter=stop, reset_every=10 * steps)
    return None


@dataclass
class GaussianModelConfig(SplatfactoModelConfig):
    """Settings that every Gaussian method shares."""

    _target: type = field(default_factory=lambda: GaussianModel)
    """Target class to instantiate."""
    max_gaussians: int = 10_000
    """Number of Gaussians to start from, and the most that relocation leads to."""
    densify: Literal["mcmc", "default", "none"] = "mcmc"
    """Densification strategy of gsplat: relocation of dead Gaussians, split and clone by gradient, or
    none."""
    sh_degree: int = 1
    """Degree of the view-dependent colour, 0 to 3."""
    camera_near: float = 0.01
    """Near plane in world units."""


class GaussianModel(SplatfactoModel):
    """A scene of Gaussians at any time, as a Nerfstudio model."""

    config: GaussianModelConfig
    scene: CarriedGaussians
    timeline: Timeline

    def populate_modules(self) -> None:
        """Set up what does not depend on the images; nothing is downloaded and nothing goes to a device by
        itself."""
        if not torch.cuda.is_available():
            use_cpu_threads()
        metadata = self.kwargs["metadata"]
        self.timeline = metadata["timeline"]
        self.has_alpha = bool(metadata.get("has_alpha", False))
        self.camera_optimizer = self.config.camera_optimizer.setup(
            num_cameras=self.num_train_data, device="cpu"
        )
        self.register_buffer("eval_background", torch.ones(3))
        self.background_color = None
        self.register_buffer("top_speed", torch.zeros(()))
        self.crop_box: OrientedBox | None = None
        self.step = 0
        self.playback = TimePlayback(self.timeline)
        self.strategy = None
        self.strategy_state: dict[str, Any] = {}
        self.resumed_strategy_state: dict[str, Any] = {}

    eval_background: Tensor
    """Colour behind the scene in evaluation: white, or the images' mean where they have no alpha."""
    background_color: Tensor | None
    """Colour that the viewer has chosen instead."""
    top_speed: Tensor

    @property
    def gauss_params(self) -> nn.ParameterDict:  # type: ignore[override]
        """Per-Gaussian tensors; all have N rows and are resized together."""
        return self.scene.params

    def _time_of(self, camera: Cameras) -> float:
        """Return the camera's time on the frame grid's exact value, or 0 where a render mode has dropped
        it."""
        if camera.times is None:
            return 0.0
        t = float(camera.times.flatten()[0])
        frames = self.timeline.frame_times
        i = int(np.searchsorted(frames, t))
        near = min(frames[max(i - 1, 0) : i + 1], key=lambda f: abs(f - t))
        return near if abs(near - t) < 1e-6 else t

    def colors_at(self, t: float, quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N K 3"]:
        """Return the spherical-harmonics coefficients at the time ``t``, when the Gaussians lie as in
        ``quats``."""
        raise NotImplementedError

    @torch.no_grad()
    def gaussians_at(self, time: float | Tensor) -> Gaussians:
        """Return the scene at a time: what viewer, render, export and metrics use.

        Args:
            time: Normalised time; beyond the recording it goes on along the velocity field.
        """
        t = float(time)
        codes = self.scene.codes()
        state = self.scene.state_at(t, codes)
        return Gaussians(
            means=state.means,
            quats=torch.nn.functional.normalize(state.quats, dim=-1),
            scales=self.scales.exp()
            if state.scale_factors is None
            else self.scales.exp() * state.scale_factors,
            opacities=torch.sigmoid(self.opacities[:, 0]),
            colors=self.colors_at(t, state.quats),
            velocities=self.scene.velocity_of(state.means, t, codes),
            dynamic=self._dynamic(),
        )

    def _dynamic(self) -> Bool[Tensor, "N"]:
        resting = self.scene.resting
        known = len(resting) == len(self.scene)
        return ~resting if known else torch.ones(len(self.scene), dtype=torch.bool, device=self.device)

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of the matter at points of the scene, world units per unit of time.

        A point moves with the Gaussians around it: the field is evaluated at the point with the codes of the
        nearest ones, weighted by their opacity and their density at the point.
        """
        codes = self.scene.codes()
        gaussians = self.gaussians_at(time)
        solid = torch.nonzero(gaussians.opacities > SOLID)[:, 0]
        if len(solid) == 0:
            return torch.zeros_like(points)
        neighbours = min(NEIGHBOURS, len(solid))
        tree = KDTree(gaussians.means[solid].cpu().numpy())
        found = np.reshape(tree.query(points.cpu().numpy(), k=neighbours)[1], (len(points), -1))
        index = solid[torch.from_numpy(found).to(solid)]
        offsets = points[:, None] - gaussians.means[index]
        local = quat_apply(quat_conjugate(gaussians.quats[index]), offsets) / gaussians.scales[
            index
        ].clamp_min(1e-4)
        weights = torch.softmax(-0.5 * local.square().sum(-1) + gaussians.opacities[index].log(), dim=1)
        spread = points[:, None].expand_as(offsets).reshape(-1, 3)
        velocity = self.scene.velocity(spread, time, codes[index].flatten(0, 1)).view_as(offsets)
        velocity = velocity * gaussians.dynamic[index][..., None]
        return (weights[..., None] * velocity).sum(1)

    def rasterize_gaussians(
        self,
        gaussians: Gaussians,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        colors: Tensor,
        **options: Any,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Rasterise Gaussians with the given colours or channels; the arguments are those of
        ``rasterize``."""
        return rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors,
            viewmats,
            Ks,
            width,
            height,
            near_plane=self.config.camera_near,
            packed=False,
            **options,
        )

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a camera at its time: a training image, or every output of the method."""
        if self.training:
            return self.get_training_outputs(camera)
        t = self._time_of(camera)
        gaussians = self.gaussians_at(t)
        if self.crop_box is not None:
            gaussians = gaussians.select(self.crop_box.within(gaussians.means).squeeze(-1))
        width, height = int(camera.width.item()), int(camera.height.item())
        viewmats, Ks = viewmats_of(camera.camera_to_worlds), camera.get_intrinsics_matrices().to(self.device)
        background = self._get_background_color()
        render, alpha, _ = self.rasterize_gaussians(
            gaussians,
            viewmats,
            Ks,
            width,
            height,
            gaussians.colors,
            sh_degree=self.config.sh_degree,
            render_mode="RGB+ED",
        )
        accumulation = alpha[0]
        rgb = (render[0, ..., :3] + (1 - accumulation) * background).clamp(0, 1)
        depth = render[0, ..., 3:4]
        ready = {
            "rgb": rgb,
            "depth": torch.where(accumulation > 0, depth, depth.max()),
            "accumulation": accumulation,
            "background": background.expand(height, width, 3),
        }
        return LazyOutputs(ready, self._motion_outputs(gaussians, viewmats, Ks, width, height))

    def _get_background_color(self) -> Float[Tensor, "3"]:
        """Return the colour behind the scene: that of the evaluation unless the viewer has set another."""
        chosen = self.background_color
        return self.eval_background if chosen is None else chosen.to(self.device)

    def _motion_outputs(
        self, gaussians: Gaussians, viewmats: Tensor, Ks: Tensor, width: int, height: int
    ) -> dict[str, Any]:
        """Return makers of the motion images; they share one rasterisation of velocity, flow and mask
        channels."""
        channels: list[Tensor] = []

        def raw() -> Tensor:
            if not channels:
                ends = torch.stack(
                    [gaussians.means, gaussians.means + self.timeline.dt * gaussians.velocities]
                )
                before, after = project(to_camera(ends, viewmats), Ks, near=1e-3)
                flow = after - before
                features = torch.cat([gaussians.velocities, flow, gaussians.dynamic.float()[:, None]], dim=1)
                render, _, _ = self.rasterize_gaussians(gaussians, viewmats, Ks, width, height, features)
                channels.append(render[0])
            return channels[0]

        top = max(float(self.top_speed), 1e-6)
        return {
            "velocity": lambda: velocity_colors(raw()[..., :3], top),
            "flow": lambda: flow_colors(raw()[..., 3:5], 0.02 * width),
            "dynamic_mask": lambda: raw()[..., 5:].clamp(0, 1),
        }

    def start_densification(self, steps: int, optimizers: dict[str, Optimizer]) -> None:
        """Set the densification up for a training of ``steps`` steps."""
        self.optimizers = optimizers
        self.strategy = make_strategy(self.config.densify, self.config.max_gaussians, steps)
        initialize = {"scene_scale": self.scene_scale} if self.config.densify == "default" else {}
        self.strategy_state = self.strategy.initialize_state(**initialize) if self.strategy else {}
        self.strategy_state.update(self.resumed_strategy_state)

    @property
    def scene_scale(self) -> float:
        """Half of the scene box's diagonal, the unit of gsplat's size thresholds."""
        return 0.5 * float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).norm())

    def watch_gradients(self, info: dict[str, Any]) -> None:
        """Let the strategy see the image-plane gradients of the step; call it before the backward pass."""
        if isinstance(self.strategy, DefaultStrategy):
            self.info = info
            self.strategy.step_pre_backward(
                self.gauss_params, self.optimizers, self.strategy_state, self.step, info
            )

    def densify(self, step: int) -> None:
        """Let the strategy move, add and drop Gaussians; call it after the optimizers' step."""
        arguments = (self.gauss_params, self.optimizers, self.strategy_state, step)
        if isinstance(self.strategy, MCMCStrategy):
            rate = self.optimizers["means"].param_groups[0]["lr"]
            self.strategy.step_post_backward(*arguments, info={}, lr=rate)
        elif isinstance(self.strategy, DefaultStrategy):
            self.strategy.step_post_backward(*arguments, info=self.info, packed=False)

    def training_state(self) -> dict[str, Any]:
        """Return what densification remembers between steps, for an exact resume."""
        return {k: v for k, v in self.strategy_state.items() if isinstance(v, Tensor | float | int)}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""
        self.resumed_strategy_state = state

    def get_training_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a training camera with gradients; returns at least ``rgb`` and ``background``."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "GaussianModel":
        """Switch between training and evaluation; what was kept of the future is out of date after either."""
        self.scene.forget_future()
        return super().train(mode)

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a checkpoint, resizing every per-Gaussian tensor to its number of Gaussians first."""
        self.scene.forget_future()
        prefix = "scene.params."
        for name in list(self.scene.params):
            rows = dict[prefix + name]
            self.scene.params[name] = nn.Parameter(torch.zeros_like(rows, device=self.device))
        self.scene.resting = torch.zeros_like(dict["scene.resting"], device=self.device)
        return nn.Module.load_state_dict(self, dict, **kwargs)

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Return the number of Gaussians; quality is measured by the evaluation, not in every training
        step."""
        return {"gaussian_count": len(self.scene)}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare one evaluation image with the ground truth, on the evaluation background."""
        return compare(outputs["rgb"], batch["image"].to(self.device), self.eval_background)
