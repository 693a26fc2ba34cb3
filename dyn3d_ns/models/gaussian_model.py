"""What every Gaussian method of the toolkit shares with Nerfstudio: the training step, outputs,
densification, checkpoints, the viewer.

A method makes a :class:`~dyn3d_ns.gaussians.scene.GaussianScene` and names its regularisers. The class
extends ``SplatfactoModel`` since Nerfstudio's viewer and exporter test for it, and replaces what there needs
CUDA or a download.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components import renderers
from nerfstudio.models.splatfacto import SplatfactoModel
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine.device import use_cpu_threads
from dyn3d_ns.engine.method import DynamicMethod, DynamicMethodConfig
from dyn3d_ns.engine.visibility import require_gaussians_in_view
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.densify import Densifier
from dyn3d_ns.gaussians.scene import GaussianScene
from dyn3d_ns.gaussians.seeds.images import surface_points
from dyn3d_ns.gaussians.seeds.points import MIN_VIEWS, SeedPoints, join_views, random_points, views_of
from dyn3d_ns.gaussians.static import StaticScene
from dyn3d_ns.geometry.cameras import project, scale_intrinsics, to_camera, viewmats_of
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.losses.photometric import image_loss
from dyn3d_ns.models.faces import is_pinhole, through_faces
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.rendering import rasterize
from dyn3d_ns.viewer.colors import flow_colors, velocity_colors

MAX_START_TIMES = 48
"""Times whose images are looked at for a start, where one camera moves through the scene."""


class TrainingView(NamedTuple):
    """What a step needs of a training camera."""

    time: float
    viewmats: Float[Tensor, "1 4 4"]
    Ks: Float[Tensor, "1 3 3"]
    width: int
    height: int


@dataclass
class GaussianModelConfig(DynamicMethodConfig):
    """Settings that every Gaussian method shares."""

    _target: type = field(default_factory=lambda: GaussianModel)
    """Target class to instantiate."""
    max_gaussians: int = 10_000
    """Number of Gaussians to start from, and the most that relocation leads to."""
    random_init: bool = False
    """Start from what the images show, or at random, even where the dataset has a point cloud."""
    densify: Literal["mcmc", "default", "none"] = "mcmc"
    """Densification strategy of gsplat: relocation of dead Gaussians, split and clone by gradient, or
    none."""
    sh_degree: int = 1
    """Degree of the view-dependent colour, 0 to 3."""
    camera_near: float = 0.01
    """Near plane, in units of training: the data's own but for scenes of unusual size."""
    ssim_weight: float = 0.0
    """Weight of structural dissimilarity beside the absolute error, 0..1."""
    camera_optimizer: CameraOptimizerConfig = field(default_factory=lambda: CameraOptimizerConfig(mode="off"))
    """Refinement of the training cameras' poses along with the scene."""


class GaussianModel(DynamicMethod, SplatfactoModel):
    """A scene of Gaussians at any time, as a Nerfstudio model.

    A method overrides :meth:`make_scene`, and what it needs of :meth:`training_gaussians`,
    :meth:`image_weight`, :meth:`regularizers`, :meth:`network_groups`, and the hooks of
    :class:`~dyn3d_ns.engine.method.DynamicMethod`.
    """

    config: GaussianModelConfig
    has_gaussians = True
    takes_masks = True
    scene: GaussianScene

    def make_scene(self, seeds: SeedPoints) -> GaussianScene:
        """Build the scene on its first points; what :meth:`populate_modules` has set is there."""
        raise NotImplementedError

    def populate_modules(self) -> None:
        """Build the scene on points of the dataset or at random; nothing is downloaded and nothing goes to a
        device by itself."""
        if not torch.cuda.is_available():
            use_cpu_threads()
        self.set_up(torch.ones(3))
        self.observed_times = self.timeline.observed_times
        self.canonical_index = self.choose_canonical_index()
        self.canonical_time = self.observed_times[self.canonical_index]
        self.camera_optimizer = self.config.camera_optimizer.setup(
            num_cameras=self.num_train_data, device="cpu"
        )
        self.background_color = None
        self.crop_box: OrientedBox | None = None
        self.densifier: Densifier | None = None
        self._resumed_densification: dict[str, Any] = {}
        self._training_views: dict[tuple[int, int], TrainingView] = {}
        self.scene = self.make_scene(self._seeds_without_images(self._generator()))

    background_color: Tensor | None
    """Colour that the viewer has chosen instead of the evaluation's."""

    def choose_canonical_index(self) -> int:
        """Return the observed frame that the scene is first laid out at: the middle one, so that no motion
        has far to go."""
        return len(self.observed_times) // 2

    def laid_out_at(self) -> str:
        """Return in words which moment the parameters show, as a stock export writes them."""
        if isinstance(self.scene, StaticScene):
            return "every moment: the scene rests"
        last = self.timeline.num_frames - 1
        index = self.timeline.frame_index(self.canonical_time)
        return f"time {self.canonical_time:.4f} (frame {index} of 0 to {last})"

    @property
    def extent(self) -> float:
        """Diagonal of the scene box, world units."""
        return float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).norm())

    @property
    def gauss_params(self) -> nn.ParameterDict:  # type: ignore[override]
        """Per-Gaussian tensors; all have N rows and are resized together."""
        return self.scene.params

    @property
    def first_gaussians(self) -> int:
        """Gaussians to start from, at most."""
        return self.config.max_gaussians

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(torch.initial_seed() % 2**63)

    def _has_points(self) -> bool:
        return self.seed_points is not None and not self.config.random_init

    def _seeds_without_images(self, generator: torch.Generator) -> SeedPoints:
        if self.seed_points is not None and self._has_points():
            xyz, rgb = self.seed_points
            keep = torch.randperm(len(xyz), generator=generator)[: self.first_gaussians]
            return SeedPoints(xyz[keep].float().cpu(), rgb[keep].float().cpu() / 255.0)
        return random_points(self.scene_box.aabb.float().cpu(), self.first_gaussians, generator)

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Start on the scene's surfaces as the images show them, where there is no point cloud.

        With masks that is the visual hull, without them what plane-sweep stereo finds. Three or more views of
        the canonical time are taken; of a single moving camera views of all times. Where neither finds enough
        the random points stay.
        """
        views = views_of(*datamanager.images_at(self.canonical_index))
        if not self.has_alpha:
            self.eval_background.copy_(views.images.float().mean((0, 1, 2)) / 255.0)
        if self._has_points():
            return
        together, count = len(views.images) >= MIN_VIEWS, len(self.observed_times)
        if not together:
            spread = np.linspace(0, count - 1, min(count, MAX_START_TIMES)).round()
            views = join_views([views_of(*datamanager.images_at(int(i))) for i in spread])
        box = self.scene_box.aabb.float().cpu()
        seeds = surface_points(views, box, self.first_gaussians, self._generator(), together)
        if seeds is not None:
            self.scene = self.make_scene(seeds)
            self.to(self.eval_background.device)

    def require_view(self, datamanager: DynamicDataManager) -> None:
        """Refuse Gaussians to start from that no training camera sees."""
        super().require_view(datamanager)
        dataset = datamanager.train_dataset
        near, scene = self.config.camera_near, scene_of(dataset.metadata)
        require_gaussians_in_view(datamanager.train_cameras, self.scene.params["means"].detach(), near, scene)

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameter groups beside those of the Gaussians."""
        return {}

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return one group per Gaussian tensor (gsplat's strategies need that), those of the method's
        networks, and that of the cameras where they are optimised."""
        groups = {name: [parameter] for name, parameter in self.scene.params.items()}
        groups |= self.network_groups()
        self.camera_optimizer.get_param_groups(groups)
        return groups

    @property
    def densify_steps(self) -> int:
        """Steps over which densification is spread, by default those of the whole training."""
        return self.schedule.steps

    def start_training(self, optimizers: dict[str, Optimizer]) -> None:
        """Set the densification up for the training that begins."""
        super().start_training(optimizers)
        c = self.config
        self.densifier = Densifier(
            c.densify,
            self.scene.params,
            optimizers,
            self.densify_steps,
            c.max_gaussians,
            0.5 * self.extent,
            self._resumed_densification,
        )

    def after_step(self, step: int) -> None:
        """Densify."""
        if self.densifier is not None:
            self.densifier.after_step(step)

    def training_state(self) -> dict[str, Any]:
        """Return what densification remembers between steps, for an exact resume."""
        return {} if self.densifier is None else self.densifier.get_state()

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""
        self._resumed_densification = state

    def training_gaussians(self, t: float) -> Gaussians:
        """Return the scene at a training image's time, with gradients."""
        return self.scene.training_at(t)

    def image_weight(self, batch: dict[str, Any]) -> Float[Tensor, "H W 1"] | None:
        """Return how much each pixel of the recorded image counts, None for all alike.

        A weight multiplies the pixel's error; 1 everywhere is the same as None. What the dataset's masks
        leave out does not count, whatever is returned here.
        """
        return None

    def _pixel_weight(self, batch: dict[str, Any]) -> Float[Tensor, "H W 1"] | None:
        weight = self.image_weight(batch)
        if "mask" not in batch:
            return weight
        mask = batch["mask"].to(self.device).float()
        return mask if weight is None else weight * mask

    def regularizers(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """Return the losses beside that of the image, each times its weight."""
        return {}

    def time_of(self, camera: Cameras) -> float:
        """Return the camera's time on the frame grid's exact value, or 0 where a render mode has dropped
        it."""
        return 0.0 if camera.times is None else self.timeline.snap(float(camera.times.flatten()[0]))

    def _training_view(self, camera: Cameras) -> TrainingView:
        """Return what a step needs of a training camera, made once for each camera and resolution.

        A pose that is being optimised is made anew each time.
        """
        scale = self.schedule.at(self.step).downscale
        index = (camera.metadata or {}).get("cam_idx", -1)
        view = self._training_views.get((index, scale))
        if view is None:
            view = TrainingView(
                self.time_of(camera),
                viewmats_of(camera.camera_to_worlds),
                scale_intrinsics(camera.get_intrinsics_matrices().to(self.device), 1 / scale, 1 / scale),
                int(camera.width.item()) // scale,
                int(camera.height.item()) // scale,
            )
            if index >= 0:
                self._training_views[index, scale] = view
        if self.config.camera_optimizer.mode != "off":
            refined = self.camera_optimizer.apply_to_camera(camera)
            view = view._replace(viewmats=viewmats_of(refined))
        return view

    def get_training_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a training camera at its time on a random background, or on the images' mean."""
        view = self._training_view(camera)
        gaussians = self.training_gaussians(view.time)
        render, alpha, info = self.rasterize_gaussians(
            gaussians, view, gaussians.colors, sh_degree=self.config.sh_degree
        )
        if self.densifier is not None:
            self.densifier.before_backward(self.step, info)
        background = torch.rand(3, device=alpha.device) if self.has_alpha else self.eval_background
        return {
            "render": render.squeeze(0),
            "accumulation": alpha.squeeze(0),
            "background": background,
            "gaussians": gaussians,
        }

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the image loss and the regularisers, each times its weight."""
        losses = {
            "image": image_loss(
                outputs["render"],
                outputs["accumulation"],
                batch["image"].to(outputs["render"].device),
                outputs["background"],
                self.schedule.at(self.step).downscale,
                self.config.ssim_weight,
                self._pixel_weight(batch),
            ),
            **self.regularizers(outputs["gaussians"]),
        }
        self.camera_optimizer.get_loss_dict(losses)
        return losses

    @torch.no_grad()
    def gaussians_at(self, time: float | Tensor) -> Gaussians:
        """Return the scene at a time: what viewer, render, export and metrics use."""
        return self.scene.at(float(time))

    def rasterize_gaussians(
        self, gaussians: Gaussians, view: TrainingView, colors: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Rasterise Gaussians with the given colours or channels; the options are those of ``rasterize``."""
        return rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors,
            view.viewmats,
            view.Ks,
            view.width,
            view.height,
            near_plane=self.config.camera_near,
            packed=False,
            **options,
        )

    def view_through(self, camera: Cameras) -> TrainingView:
        """Return a camera as the rasteriser takes it."""
        return TrainingView(
            self.time_of(camera),
            viewmats_of(camera.camera_to_worlds.reshape(1, 3, 4)),
            camera.get_intrinsics_matrices().to(self.device).reshape(1, 3, 3),
            int(camera.width.item()),
            int(camera.height.item()),
        )

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a camera at its time: a training image, or every output of the method."""
        if self.training:
            return self.get_training_outputs(camera)
        if not is_pinhole(camera):
            return through_faces(self.get_outputs, camera)
        view = self.view_through(camera)
        gaussians = self.gaussians_at(view.time)
        if self.crop_box is not None:
            gaussians = gaussians.select(self.crop_box.within(gaussians.means).squeeze(-1))
        background = self._get_background_color()
        render, alpha, _ = self.rasterize_gaussians(
            gaussians, view, gaussians.colors, sh_degree=self.config.sh_degree, render_mode="RGB+ED"
        )
        accumulation = alpha[0]
        rgb = (render[0, ..., :3] + (1 - accumulation) * background).clamp(0, 1)
        depth = render[0, ..., 3:4]
        ready = {
            "rgb": rgb,
            "depth": torch.where(accumulation > 0, depth, depth.max()),
            "accumulation": accumulation,
            "background": background.expand(view.height, view.width, 3),
        }
        return LazyOutputs(ready, self.more_outputs(gaussians, view, ready))

    def _get_background_color(self) -> Float[Tensor, "3"]:
        """Return the colour behind the scene: that of the evaluation unless the viewer, or a camera path that
        crops the scene, has set another."""
        overridden = renderers.BACKGROUND_COLOR_OVERRIDE
        chosen = self.background_color if overridden is None else overridden
        return self.eval_background if chosen is None else chosen.to(self.device)

    def more_outputs(
        self, gaussians: Gaussians, view: TrainingView, ready: Mapping[str, Tensor]
    ) -> dict[str, Callable[[], Tensor]]:
        """Return makers of further images, by default those of motion where there is any.

        They share one rasterisation of velocity, flow and mask channels. ``ready`` are the images at hand.
        """
        if gaussians.velocities is None:
            return {}
        channels: list[Tensor] = []

        def pixels(means: Tensor) -> Tensor:
            return project(to_camera(means, view.viewmats[0]), view.Ks[0], near=1e-3)

        def raw() -> Tensor:
            if not channels:
                flow = pixels(gaussians.means + self.timeline.dt * gaussians.motion) - pixels(gaussians.means)
                features = torch.cat([gaussians.motion, flow, gaussians.moving.float()[:, None]], dim=1)
                render, _, _ = self.rasterize_gaussians(gaussians, view, features)
                channels.append(render[0])
            return channels[0]

        top = max(float(self.top_speed), 1e-6)
        return {
            "velocity": lambda: velocity_colors(raw()[..., :3], top),
            "flow": lambda: flow_colors(raw()[..., 3:5], 0.02 * view.width),
            "dynamic_mask": lambda: raw()[..., 5:].clamp(0, 1),
        }

    def train(self, mode: bool = True) -> "GaussianModel":
        """Switch between training and evaluation; what the scene keeps is out of date after either."""
        self.scene.forget()
        return super().train(mode)

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a checkpoint; the scene takes its number of Gaussians."""
        return nn.Module.load_state_dict(self, dict, **kwargs)

    def describe_size(self) -> dict[str, int]:
        """Return the number of Gaussians."""
        return {"num_gaussians": len(self.scene)}

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Return the number of Gaussians; quality is measured by the evaluation, not in every training
        step."""
        metrics: dict[str, Any] = {"gaussian_count": len(self.scene)}
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics
