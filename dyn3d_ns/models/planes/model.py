"""``dyn3d-velocity-planes``: Dyn3D / NVFi, a radiance field on keyframe planes carried by a velocity field.

A sample of a ray at time t is moved along the velocity field to the nearest keyframe, where density and
colour are read. Physics losses at points of all times, the unobserved future included, make the velocity go
on beyond the recording.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.models.base_model import Model
from torch import Tensor, nn

from dyn3d_ns.data.rays import RayDataManager
from dyn3d_ns.engine.device import give_torch_the_cores
from dyn3d_ns.fields.keyframe_bridge import KeyframeBridge
from dyn3d_ns.fields.keyframe_planes import (
    KeyframePlanes,
    default_keyframes,
    keyframe_times,
    resolution_schedule,
    upsample,
)
from dyn3d_ns.fields.occupancy import KeyframeOccupancy
from dyn3d_ns.fields.point_velocity import PointVelocityField
from dyn3d_ns.fields.slots import SlotNetwork
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.metrics.image import compare
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.models.planes.config import Dyn3DVelocityPlanesModelConfig
from dyn3d_ns.models.planes.losses import physics_losses, plane_losses
from dyn3d_ns.models.planes.observed import ObservedMatter
from dyn3d_ns.models.planes.render import PlanesPictures
from dyn3d_ns.models.planes.scene import PlanesScene, Samples, accumulate
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.colors import divergence_colors, slot_colors, velocity_colors
from dyn3d_ns.viewer.playback import TimePlayback


class Dyn3DVelocityPlanesModel(Model):
    """Keyframe planes and a velocity field as a Nerfstudio model that renders rays."""

    config: Dyn3DVelocityPlanesModelConfig
    scene: PlanesScene
    timeline: Timeline

    def populate_modules(self) -> None:
        """Build the fields; nothing is downloaded and nothing goes to a device by itself."""
        super().populate_modules()
        if not torch.cuda.is_available():
            give_torch_the_cores()
        c, metadata = self.config, scene_of(self.kwargs["metadata"])
        self.timeline = metadata.timeline
        observed = self.timeline.observed_times
        count = c.keyframes or default_keyframes(len(observed))
        bridge = KeyframeBridge(c.density_channels) if c.keyframe_net == "bridge" else None
        self.scene = PlanesScene(
            KeyframePlanes(
                c.start_resolution,
                count,
                c.density_channels,
                c.appearance_channels,
                c.appearance_size,
                c.color_width,
                c.color_octaves,
                c.density_shift,
            ),
            PointVelocityField(
                width=c.velocity_width,
                hidden_layers=c.velocity_layers,
                octaves=c.velocity_octaves,
                time_octaves=c.time_octaves,
            ),
            bridge,
            KeyframeOccupancy(count, c.occupancy_cells),
            keyframe_times(count, observed[0], self.timeline.t_obs),
            self.scene_box.aabb,
            c.density_scale,
            c.samples_per_voxel,
            c.explore,
        )
        has_alpha = metadata.has_alpha
        self.has_alpha = has_alpha
        self.register_buffer("eval_background", torch.full((3,), float(has_alpha)), persistent=False)
        self.register_buffer("top_speed", torch.ones(()))
        self.background_color = self.eval_background
        self.playback = TimePlayback(self.timeline)
        self.observed = ObservedMatter(self.scene, self.timeline)
        self.pictures = PlanesPictures(
            self.scene, self.observed, c.eval_num_rays_per_chunk, c.max_samples_per_ray
        )
        self.step, self.total_steps = 0, 1
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.initial_rates: dict[str, float] = {}

    eval_background: Tensor
    top_speed: Tensor

    def initialize_from(self, datamanager: RayDataManager) -> None:
        """Fit the cube and carve the occupancy by the silhouettes, where images have alpha."""
        if self.has_alpha:
            self.observed.carve([datamanager.images_at(f) for f in range(len(self.observed.times))])

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return planes, colour network, and the networks of motion."""
        s = self.scene
        motion = [*s.velocity.parameters(), *(s.bridge.parameters() if s.bridge is not None else ())]
        return {"planes": s.planes.planes(), "networks": s.planes.networks(), "velocity": motion}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Add the refinement of the planes and of the occupancy to the training loop."""
        attributes = training_callback_attributes
        assert attributes.trainer is not None and attributes.optimizers is not None
        self.total_steps = attributes.trainer.config.max_num_iterations
        self.optimizers = attributes.optimizers.optimizers
        self.initial_rates = {
            name: o.param_groups[0].get("initial_lr", o.param_groups[0]["lr"])
            for name, o in self.optimizers.items()
        }
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self.before_step),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self.measure_speed),
        ]

    def before_step(self, step: int) -> None:
        """Refine planes and occupancy where the schedule says so."""
        self.step = step
        c = self.config
        marks = [round(part * self.total_steps) for part in c.upsample_parts]
        if step in marks and step > 0:
            sizes = resolution_schedule(c.start_resolution, c.resolution, len(marks))
            upsample(self.scene.planes, sizes[marks.index(step)], self.optimizers.get("planes"))
        warm = step >= c.occupancy_warmup * self.total_steps
        if warm and step % c.occupancy_period == 0:
            self.observed.update(step // c.occupancy_period)

    @torch.no_grad()
    def measure_speed(self, step: int) -> None:
        """Note the speed that the velocity's colours show at full range: of 98 % of the solid matter."""
        s, speeds = self.scene, []
        for k, t in enumerate(s.key_times):
            solid = s.occupancy.density[k] * s.occupancy.size > 1
            centers = s.occupancy.centers(solid.nonzero())
            speeds.append(s.velocity(centers, t).norm(dim=-1) * s.half_width)
        found = torch.cat(speeds)
        if len(found):
            self.top_speed.fill_(found[torch.randperm(len(found))[:100_000]].quantile(0.98).clamp_min(1e-3))

    def frame_weights(self, step: int) -> Float[Tensor, "F"]:
        """Return how often each recorded time is drawn: keyframes more often, others from near to far."""
        c, s = self.config, self.scene
        times = torch.tensor(self.timeline.frame_times)
        distance = (times[:, None] - s.keyframes.cpu()).abs().amin(1)
        at_key = (distance < 0.5 * self.timeline.dt).float() * (times <= self.timeline.t_obs + 1e-6)
        part = 1.0 if c.reach_part <= 0 else min(step / (c.reach_part * self.total_steps), 1.0)
        near = (distance <= part * s.max_step * 1.001 + 1e-6).float() * (times <= self.timeline.t_obs + 1e-6)
        return (
            c.keyframe_share * at_key / at_key.sum().clamp_min(1) + (1 - c.keyframe_share) * near / near.sum()
        )

    def _training_samples(self, rays: RayBundle) -> Samples:
        assert rays.times is not None
        observed = torch.tensor(self.observed.times, device=rays.times.device)
        cubes = torch.searchsorted(observed - 0.5 * self.timeline.dt, rays.times[:, 0].contiguous()) - 1
        return self.scene.sample(
            rays.origins,
            rays.directions,
            self.scene.exact(rays.times),
            cubes.clamp(0, len(observed) - 1),
            self.observed.get(),
            torch.rand(len(rays.origins), device=rays.origins.device),
            self.config.max_samples_per_ray,
        )

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:  # type: ignore[override]
        """Render training rays with gradients."""
        samples, count = self._training_samples(ray_bundle), len(ray_bundle.origins)
        return {
            "rgb": accumulate(samples.colors, samples.weights, samples.rays, count),
            "accumulation": accumulate(
                torch.ones_like(samples.colors[:, :1]), samples.weights, samples.rays, count
            ),
            "samples": samples,
        }

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Return the number of samples that count."""
        return {"samples": len(outputs["samples"].rays)}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the image loss on random backgrounds, and the regularisers times their weights."""
        c, image = self.config, batch["image"].to(self.device)
        background = (
            torch.rand_like(image[:, :3]) if self.has_alpha else self.eval_background.expand(len(image), 3)
        )
        truth = image[:, :3]
        if image.shape[-1] == 4:
            truth = truth * image[:, 3:] + background * (1 - image[:, 3:])
        rgb = outputs["rgb"] + background * (1 - outputs["accumulation"])
        losses = {"image": (rgb - truth).square().mean()}
        decay = self._decay()
        if c.bridge_weight and self.scene.bridge is not None:
            losses["bridge"] = c.bridge_weight * decay * outputs["samples"].bridge
        losses |= {
            name: decay * value for name, value in plane_losses(self.scene.planes, c, self.step).items()
        }
        if self.step % c.collocation_period == 0:
            physics = physics_losses(self.scene, outputs["samples"], c, self.step / self.total_steps)
            losses |= {name: decay * value for name, value in physics.items()}
        return losses

    def _decay(self) -> float:
        """Return how far the learning rates have decayed, which the regularisers follow."""
        optimizer = self.optimizers.get("planes")
        return (
            optimizer.param_groups[0]["lr"] / self.initial_rates["planes"] if optimizer is not None else 1.0
        )

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity at points of the scene, world units per unit of time."""
        s = self.scene
        parts = [s.velocity((p.to(s.center) - s.center) / s.half_width, time) for p in points.split(65536)]
        return torch.cat(parts).to(points) * s.half_width.to(points)

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Any]:
        """Render a camera at its time; velocity and divergence are made when asked for."""
        view = self.pictures.view(camera.to(self.device), obb_box)
        image = view("image")
        accumulation = image[..., 3:4]
        rgb = image[..., :3] + (1 - accumulation) * self.background_color.to(image)
        depth = image[..., 4:5] / accumulation.clamp_min(1e-6)
        solid = accumulation > 1e-3
        farthest = depth[solid].max() if bool(solid.any()) else depth.new_ones(())
        ready = {
            "rgb": rgb.clamp(0, 1),
            "depth": torch.where(solid, depth, farthest),
            "accumulation": accumulation,
        }
        top = max(float(self.top_speed), 1e-6)
        rest: dict[str, Callable[[], Tensor]] = {
            "velocity": lambda: velocity_colors(view("velocity"), top),
            "divergence": lambda: divergence_colors(view("divergence"), 1.0),
        }
        if self.scene.slots is not None:
            rest["segment"] = lambda: slot_colors(view("segment"))
        return LazyOutputs(ready, rest)

    @torch.no_grad()
    def segment(self, camera: Cameras) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W 1"]]:
        """Return how much of each slot the pixels of a camera show at its time, and their accumulation."""
        shares = self.pictures.view(camera.to(self.device))("segment")
        return shares, shares.sum(-1, keepdim=True)

    def train(self, mode: bool = True) -> "Dyn3DVelocityPlanesModel":
        """Switch between training and evaluation; cubes kept for rendering are out of date after either."""
        self.pictures.forget()
        return super().train(mode)

    def load_state_dict(self, state_dict: Mapping[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a checkpoint, resizing the planes to its resolution first."""
        self.pictures.forget()
        last = state_dict.get("scene.slots.network.6.bias")
        if last is not None:
            self.scene.slots = SlotNetwork(len(last)).to(self.device)
        for name, parameter in self.named_parameters():
            if name in state_dict and parameter.shape != state_dict[name].shape:
                parameter.data = torch.zeros_like(state_dict[name], device=parameter.device)
        return super().load_state_dict(state_dict, **kwargs)

    def training_state(self) -> dict[str, Any]:
        """Return what the occupancy remembers of other times, for an exact resume."""
        return self.observed.get_state()

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""
        self.observed.set_state(state)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare one evaluation image with the ground truth, on the evaluation background."""
        return compare(outputs["rgb"], batch["image"].to(self.device), self.eval_background)
