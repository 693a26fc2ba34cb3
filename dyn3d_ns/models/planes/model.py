"""``dyn3d-velocity-planes``: Dyn3D / NVFi, a radiance field on keyframe planes carried by a velocity field.

A sample of a ray at time t is moved along the velocity field to the nearest keyframe, where density and
colour are read. Physics losses at points of all times, the unobserved future included, make the velocity go
on beyond the recording.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine.device import give_torch_the_cores
from dyn3d_ns.engine.method import DynamicMethod, DynamicMethodConfig
from dyn3d_ns.engine.schedule import Phase
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
from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.models.planes.losses import PlanesLosses, physics_losses, plane_losses
from dyn3d_ns.models.planes.observed import ObservedMatter
from dyn3d_ns.models.planes.render import PlanesPictures
from dyn3d_ns.models.planes.scene import PlanesScene, Samples, accumulate
from dyn3d_ns.viewer.colors import divergence_colors, slot_colors, velocity_colors


@dataclass
class Dyn3DVelocityPlanesModelConfig(DynamicMethodConfig):
    """Settings of the volumetric method; the defaults are the paper's."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityPlanesModel)
    """Target class to instantiate."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at once in evaluation."""
    keyframes: int = 0
    """Keyframes over the observed time; 0 for one every three observed frames (4 to 24)."""
    keyframe_net: Literal["none", "bridge"] = "bridge"
    """Network between keyframes beside the velocity field; none is NVFi exactly."""
    start_resolution: int = 64
    """Points along an axis of the space planes at the start."""
    resolution: int = 200
    """Points along an axis at the end."""
    upsample_parts: tuple[float, ...] = (1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15)
    """Parts of the training after which the planes are refined, evenly in the logarithm of the resolution."""
    density_channels: int = 24
    """Channels of the density planes."""
    appearance_channels: int = 48
    """Channels of the appearance planes."""
    appearance_size: int = 32
    """Features that the colour network gets from them."""
    color_width: int = 128
    """Units of the colour network's hidden layers."""
    color_octaves: int = 6
    """Octaves of position and direction that the colour network sees."""
    density_shift: float = -10.0
    """Added to the density before softplus: -10 for objects, -5 for rooms."""
    density_scale: float = 50.0
    """Density per half-width of the scene's cube of a field value of one (25 a world unit, a box of 4)."""
    velocity_width: int = 128
    """Units of a hidden layer of the velocity and the acceleration network."""
    velocity_layers: int = 5
    """Hidden layers of both."""
    velocity_octaves: int = 3
    """Octaves of sines and cosines of position that both see."""
    time_octaves: int = 3
    """The same of time."""
    occupancy_cells: int = 128
    """Cells along an axis of the occupancy cubes."""
    occupancy_period: int = 16
    """Steps between two updates of the occupancy, of one keyframe and its times each."""
    occupancy_warmup: float = 0.02
    """Part of the training before the first update."""
    samples_per_voxel: float = 2.0
    """Samples along a ray per spacing of the planes."""
    explore: float = 1.0
    """Part of the samples without weight that the networks see all the same; 1 for no proposal."""
    max_samples_per_ray: int = 1024
    """Most samples of a ray."""
    keyframe_share: float = 0.5
    """Part of the rays taken from images at keyframes, which need no advection."""
    reach_part: float = 0.0
    """Part of the training by the end of which times as far from keyframes as there are have been seen."""
    bridge_weight: float = 1e-3
    """Weight of the bridge's mean squared displacement."""
    losses: PlanesLosses = field(default_factory=PlanesLosses)
    """Regularisers and physics losses."""


class Dyn3DVelocityPlanesModel(DynamicMethod):
    """Keyframe planes and a velocity field as a Nerfstudio model that renders rays."""

    config: Dyn3DVelocityPlanesModelConfig
    renders_stereo = True
    takes_masks = True
    scene: PlanesScene

    def populate_modules(self) -> None:
        """Build the fields; nothing is downloaded and nothing goes to a device by itself."""
        super().populate_modules()
        if not torch.cuda.is_available():
            give_torch_the_cores()
        c = self.config
        has_alpha = scene_of(self.kwargs["metadata"]).has_alpha
        self.set_up(torch.full((3,), float(has_alpha)), keep_background=False)
        observed = self.timeline.observed_times
        # Images of one moment have no motion, and several keyframes at it no distance.
        count = 1 if len(observed) == 1 else c.keyframes or default_keyframes(len(observed))
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
        self.background_color = self.eval_background
        self.observed = ObservedMatter(self.scene, self.timeline)
        self.pictures = PlanesPictures(
            self.scene, self.observed, c.eval_num_rays_per_chunk, c.max_samples_per_ray
        )
        self.initial_rates: dict[str, float] = {}

    background_color: Tensor
    """Colour behind the scene in the viewer."""

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Fit the cube and carve the occupancy by the silhouettes, where images have alpha."""
        if self.has_alpha:
            self.observed.carve([datamanager.images_at(f) for f in range(len(self.observed.times))])

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return planes, colour network, and the networks of motion."""
        s = self.scene
        motion = [*s.velocity.parameters(), *(s.bridge.parameters() if s.bridge is not None else ())]
        return {"planes": s.planes.planes(), "networks": s.planes.networks(), "velocity": motion}

    def phases(self) -> list[Phase]:
        """Return one phase, in which keyframes are drawn more often, and other times from near to far."""
        return [Phase("all", 1.0, frame_weights=self.frame_weights)]

    def start_training(self, optimizers: dict[str, Optimizer]) -> None:
        """Note the rates that the training starts with."""
        super().start_training(optimizers)
        self.initial_rates = {
            name: o.param_groups[0].get("initial_lr", o.param_groups[0]["lr"])
            for name, o in optimizers.items()
        }

    def before_step(self, step: int) -> None:
        """Refine planes and occupancy where the schedule says so."""
        c, total = self.config, self.schedule.steps
        marks = [round(part * total) for part in c.upsample_parts]
        if step in marks and step > 0:
            sizes = resolution_schedule(c.start_resolution, c.resolution, len(marks))
            upsample(self.scene.planes, sizes[marks.index(step)], self.optimizers.get("planes"))
        warm = step >= c.occupancy_warmup * total
        if warm and step % c.occupancy_period == 0:
            self.observed.update(step // c.occupancy_period)

    @torch.no_grad()
    def finish(self) -> None:
        """Note the speed that the velocity's colours show at full range: of 98 % of the solid matter."""
        s, speeds = self.scene, []
        for k, t in enumerate(s.key_times):
            solid = s.occupancy.density[k] * s.occupancy.size > 1
            centers = s.occupancy.centers(solid.nonzero())
            speeds.append(s.velocity(centers, t).norm(dim=-1) * s.half_width)
        found = torch.cat(speeds)
        if len(found):
            self.top_speed.fill_(found[torch.randperm(len(found))[:100_000]].quantile(0.98).clamp_min(1e-3))

    def frame_weights(self, gone: float) -> Float[Tensor, "F"]:
        """Return how often each recorded time is drawn: keyframes more often, others from near to far.

        ``gone`` is the part of the training gone by.
        """
        c, s = self.config, self.scene
        times = torch.tensor(self.timeline.frame_times)
        distance = (times[:, None] - s.keyframes.cpu()).abs().amin(1)
        at_key = (distance < 0.5 * self.timeline.dt).float() * (times <= self.timeline.t_obs + 1e-6)
        part = 1.0 if c.reach_part <= 0 else min(gone / c.reach_part, 1.0)
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
        truth = composite(image, background)
        rgb = outputs["rgb"] + background * (1 - outputs["accumulation"])
        errors = (rgb - truth).square()
        if "mask" in batch:
            errors = errors * batch["mask"]
        losses = {"image": errors.mean()}
        decay = self._decay()
        if c.bridge_weight and self.scene.bridge is not None:
            losses["bridge"] = c.bridge_weight * decay * outputs["samples"].bridge
        losses |= {
            name: decay * value
            for name, value in plane_losses(self.scene.planes, c.losses, self.step).items()
        }
        if self.step % c.losses.collocation_period == 0:
            physics = physics_losses(self.scene, outputs["samples"], c.losses, self.schedule.part(self.step))
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
