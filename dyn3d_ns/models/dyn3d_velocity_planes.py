"""``dyn3d-velocity-planes``: Dyn3D / NVFi, a radiance field on keyframe planes carried by a velocity field.

A sample of a ray at time t is moved along the velocity field to the nearest keyframe, where density and
colour are read. Physics losses at points of all times, the unobserved future included, make the velocity go
on beyond the recording.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor, nn

from dyn3d_ns.data.hull import hull_cells
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
from dyn3d_ns.losses.physics import divergence, divergence_loss, steady_drive_loss, transport_loss
from dyn3d_ns.losses.planes import space_sparsity, time_sparsity, total_variation
from dyn3d_ns.metrics.image import composite, mse, psnr_of_mse, quantize, ssim
from dyn3d_ns.models.color_codes import divergence_colors, slot_colors, velocity_colors
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.models.planes_scene import MatterOverTime, PlanesScene, Samples, accumulate
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.playback import TimePlayback

COARSE = 40
"""Cells along an axis of the silhouettes' first carving, which only bounds the scene."""


@dataclass
class Dyn3DVelocityPlanesModelConfig(ModelConfig):
    """Settings of the volumetric method; the defaults are the paper's."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityPlanesModel)
    """Target class to instantiate."""
    enable_collider: bool = False
    """Rays are cut by the scene box and the occupancy instead."""
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
    align_part: float = 0.0
    """Part of the training in which images off the keyframes train the motion alone, so that the planes
    cannot explain it by blur."""
    collocation_points: int = 65_536
    """Points of a step at which the physics losses are taken; the paper has 262,144 for objects."""
    collocation_period: int = 1
    """Steps between two evaluations of the physics losses, whose weight grows accordingly."""
    divergence_weight: float = 5.0
    """Weight of the squared divergence."""
    transport_weight: float = 0.1
    """Weight of the squared difference of material and learned acceleration."""
    physics_ramp: float = 0.0
    """Part of the training over which the physics losses grow to their weights."""
    steady_weight: float = 0.0
    """Weight of the squared rate of the acceleration's coefficients along the matter; not in the paper."""
    sparsity_weight: float = 8e-4
    """Weight of the density planes' distance from empty and unchanging."""
    variation_weight: float = 1e-2
    """Weight of the planes' total variation."""
    bridge_weight: float = 1e-3
    """Weight of the bridge's mean squared displacement."""
    planes_per_step: int = 0
    """Planes that the regularisers see in a step, in turn and weighted accordingly; 0 for all."""


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
        c, metadata = self.config, self.kwargs["metadata"]
        self.timeline = metadata["timeline"]
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
        has_alpha = bool(metadata.get("has_alpha", False))
        self.has_alpha = has_alpha
        self.register_buffer("eval_background", torch.full((3,), float(has_alpha)), persistent=False)
        self.register_buffer("top_speed", torch.ones(()))
        self.background_color = self.eval_background
        self.playback = TimePlayback(self.timeline)
        self.hulls: list[Bool[Tensor, "G G G"]] = []
        self.matter: MatterOverTime | None = None
        self.cube_cache: dict[float, MatterOverTime] = {}
        self.step, self.total_steps = 0, 1
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.initial_rates: dict[str, float] = {}

    eval_background: Tensor
    top_speed: Tensor

    def initialize_from(self, datamanager: RayDataManager) -> None:
        """Fit the cube and carve the occupancy of every observed time by the silhouettes, where images have
        alpha."""
        if not self.has_alpha:
            return
        s, views = self.scene, [datamanager.images_at(f) for f in range(len(self.timeline.observed_times))]
        s.fit_cube([self._carve(view, COARSE) for view in views[:: max(len(views) // 8, 1)] + views[-1:]])
        self.hulls = [self._carve(view, s.occupancy.cells) for view in views]
        for k, t in enumerate(s.key_times):
            hull = self._hull_of(t)
            if hull is not None:
                s.occupancy.restrict(k, hull)

    def _carve(self, view: tuple[Cameras, Tensor], cells: int) -> Bool[Tensor, "G G G"]:
        cameras, images = view
        kept = hull_cells(cameras, images.cpu(), self.scene.center, float(self.scene.half_width), cells)
        return kept.to(self.device)

    def _hull_of(self, t: float) -> Bool[Tensor, "G G G"] | None:
        """Return the cells that silhouettes leave possible at a recorded time."""
        frame = self.timeline.frame_index(t)
        known = frame < len(self.hulls) and abs(self.timeline.frame_times[frame] - t) < 1e-5
        return self.hulls[frame] if known else None

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
        return [TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self.before_step)]

    def before_step(self, step: int) -> None:
        """Refine planes and occupancy where the schedule says so."""
        self.step = step
        c = self.config
        self.scene.align_only = step < c.align_part * self.total_steps
        marks = [round(part * self.total_steps) for part in c.upsample_parts]
        if step in marks and step > 0:
            sizes = resolution_schedule(c.start_resolution, c.resolution, len(marks))
            upsample(self.scene.planes, sizes[marks.index(step)], self.optimizers.get("planes"))
        warm = step >= c.occupancy_warmup * self.total_steps
        if self.matter is None:
            self._build_matter()
        elif warm and step % c.occupancy_period == 0:
            self._update_occupancy(step // c.occupancy_period)

    @torch.no_grad()
    def _build_matter(self) -> None:
        """Make the cubes of all observed times."""
        cubes = [self._cube(t) for t in self.timeline.observed_times]
        codes, shifts = zip(*cubes, strict=True)
        self.matter = MatterOverTime(torch.stack(codes), torch.stack(shifts))

    @torch.no_grad()
    def _update_occupancy(self, turn: int) -> None:
        """Sample a keyframe's density anew, or carry it to one of its times, in turn."""
        s, times = self.scene, self.timeline.observed_times
        assert self.matter is not None
        k = turn % len(s.key_times)

        def density(x: Tensor, keyframe: int) -> Tensor:
            return s.density(x, torch.full((len(x),), keyframe, device=x.device))

        s.occupancy.update(k, density, self._hull_of(s.key_times[k]))
        mine = [f for f, t in enumerate(times) if s.nearest(t) == k]
        f = mine[(turn // len(s.key_times)) % len(mine)]
        self.matter.codes[f], self.matter.shifts[f] = self._cube(times[f])

    def _cube(self, t: float) -> tuple[Tensor, Tensor]:
        s = self.scene
        k = s.nearest(t)
        key_time = s.key_times[k]
        exact = t if abs(t - key_time) > 1e-6 else key_time
        return s.occupancy.at(k, key_time, exact, s.carry, self._hull_of(t))

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
        if self.matter is None:
            self._build_matter()
        assert rays.times is not None and self.matter is not None
        observed = torch.tensor(self.timeline.observed_times, device=rays.times.device)
        cubes = torch.searchsorted(observed - 0.5 * self.timeline.dt, rays.times[:, 0].contiguous()) - 1
        return self.scene.sample(
            rays.origins,
            rays.directions,
            self._exact(rays.times),
            cubes.clamp(0, len(observed) - 1),
            self.matter,
            torch.rand(len(rays.origins), device=rays.origins.device),
            self.config.max_samples_per_ray,
        )

    def _exact(self, times: Float[Tensor, "R 1"]) -> Float[Tensor, "R 1"]:
        """Put times on the keyframe's exact value that are there but for rounding."""
        key = self.scene.keyframes
        nearest = key[(times - key).abs().argmin(-1)][:, None]
        return torch.where((nearest - times).abs() < 1e-5, nearest, times)

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
        losses |= {name: decay * value for name, value in self._plane_losses().items()}
        if self.step % c.collocation_period == 0:
            losses |= {
                name: decay * value for name, value in self._physics_losses(outputs["samples"]).items()
            }
        return losses

    def _decay(self) -> float:
        """Return how far the learning rates have decayed, which the regularisers follow."""
        optimizer = self.optimizers.get("planes")
        return (
            optimizer.param_groups[0]["lr"] / self.initial_rates["planes"] if optimizer is not None else 1.0
        )

    def _plane_losses(self) -> dict[str, Tensor]:
        """Return sparsity and total variation, of all planes or of some in turn."""
        c, planes = self.config, self.scene.planes
        terms: list[tuple[str, Tensor]] = [("space", p) for p in planes.density_planes.space]
        terms += [("time", p) for p in planes.density_planes.time]
        terms += [("appearance", p) for p in planes.appearance_planes.space]
        count = min(c.planes_per_step or len(terms), len(terms))
        chosen = [terms[(self.step * count + i) % len(terms)] for i in range(count)]
        scale = len(terms) / count
        sparsity = variation = self.scene.planes.density_planes.space[0].new_zeros(())
        for kind, plane in chosen:
            if kind == "space":
                sparsity = sparsity + space_sparsity(plane)
            elif kind == "time":
                sparsity = sparsity + time_sparsity(plane)
            variation = variation + total_variation(plane, 3.0 if kind == "time" else 1.0)
        return {
            "sparsity": c.sparsity_weight * scale * sparsity,
            "variation": c.variation_weight * scale * variation,
        }

    @torch.no_grad()
    def collocation(self, samples: Samples) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 1"]]:
        """Draw points with matter and their times: half seen by the step's rays, half at any time up to 1.

        The latter start in occupied cells of keyframes and are carried to times of the whole recording, the
        unobserved future included.
        """
        c, s = self.config, self.scene
        device, half = s.center.device, c.collocation_points // 2
        pick = torch.randint(len(samples.rays), (half,), device=device) if len(samples.rays) else []
        seen, seen_times = samples.points[pick], samples.times[pick]
        times = torch.rand(c.collocation_points - half, 1, device=device)
        rows = self.scene.keyframes[None].sub(times).abs().argmin(-1)
        starts = torch.zeros(len(times), 3, device=device)
        for k in range(len(s.key_times)):
            mine, cells = (rows == k).nonzero()[:, 0], (s.occupancy.codes[k] > 0).nonzero()
            if len(cells):
                drawn = s.occupancy.centers(cells[torch.randint(len(cells), (len(mine),), device=device)])
                starts[mine] = drawn + s.occupancy.size * (torch.rand_like(drawn) - 0.5)
        carried = s.carry(starts, s.keyframes[rows][:, None], times)
        return torch.cat([seen, carried]), torch.cat([seen_times, times])

    def _physics_losses(self, samples: Samples) -> dict[str, Tensor]:
        c = self.config
        if not c.collocation_points:
            return {}
        motion = self.scene.velocity.kinematics(*self.collocation(samples))
        ramp = min(self.step / (c.physics_ramp * self.total_steps), 1.0) if c.physics_ramp else 1.0
        scale = ramp * c.collocation_period
        losses = {
            "divergence": c.divergence_weight * scale * divergence_loss(motion.jacobian),
            "transport": c.transport_weight
            * scale
            * transport_loss(motion.velocity, motion.jacobian, motion.acceleration),
        }
        if c.steady_weight:
            losses["steady"] = (
                c.steady_weight * scale * steady_drive_loss(motion.velocity, motion.drive_gradient)
            )
        return losses

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity at points of the scene, world units per unit of time."""
        s = self.scene
        parts = [s.velocity((p.to(s.center) - s.center) / s.half_width, time) for p in points.split(65536)]
        return torch.cat(parts).to(points) * s.half_width.to(points)

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Any]:
        """Render a camera at its time; velocity and divergence are made when asked for."""
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        bundle = camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box)
        shape = bundle.origins.shape[:2]
        rays = bundle.flatten()

        def render(kind: str) -> Tensor:
            return self._render(rays, time, kind).view(*shape, -1)

        image = render("image")
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
            "velocity": lambda: velocity_colors(render("velocity"), top),
            "divergence": lambda: divergence_colors(render("divergence"), 1.0),
        }
        if self.scene.slots is not None:
            rest["segment"] = lambda: slot_colors(render("segment"))
        return LazyOutputs(ready, rest)

    @torch.no_grad()
    def segment(self, camera: Cameras) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W 1"]]:
        """Return how much of each slot the pixels of a camera show at its time, and their accumulation."""
        bundle = camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True)
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        shares = self._render(bundle.flatten(), time, "segment").view(*bundle.origins.shape[:2], -1)
        return shares, shares.sum(-1, keepdim=True)

    @torch.no_grad()
    def _render(self, rays: RayBundle, time: float, kind: str) -> Float[Tensor, "R D"]:
        """Render rays of one time in chunks: colour, accumulation and planar depth, or a motion channel."""
        matter = self.matter_at(time)
        parts = []
        for start in range(0, len(rays), self.config.eval_num_rays_per_chunk):
            chunk = rays[start : start + self.config.eval_num_rays_per_chunk]
            count = len(chunk)
            times = self._exact(chunk.origins.new_full((count, 1), time))
            middle = torch.full((count,), 0.5, device=self.device)
            samples = self.scene.sample(
                chunk.origins,
                chunk.directions,
                times,
                torch.zeros(count, dtype=torch.int32, device=self.device),
                matter,
                middle,
                self.config.max_samples_per_ray,
            )
            parts.append(self._channels(samples, chunk, kind))
        return torch.cat(parts)

    def _channels(self, samples: Samples, rays: RayBundle, kind: str) -> Float[Tensor, "R D"]:
        s = self.scene
        if kind == "velocity":
            values = s.velocity(samples.points, samples.times) * s.half_width
        elif kind == "segment":
            values = s.slots_of(samples.points, samples.times)
        elif kind == "divergence":
            values = divergence(s.velocity.kinematics(samples.points, samples.times).jacobian)[:, None]
        else:
            slant = rays.metadata["directions_norm"][samples.rays]
            ones = torch.ones_like(samples.distances[:, None])
            values = torch.cat([samples.colors, ones, samples.distances[:, None] / slant], dim=-1)
        return accumulate(values, samples.weights, samples.rays, len(rays))

    @torch.no_grad()
    def matter_at(self, time: float) -> MatterOverTime:
        """Return the occupancy of a time; a few are kept until the next training step."""
        if time not in self.cube_cache:
            if len(self.cube_cache) >= 8:
                self.cube_cache.pop(next(iter(self.cube_cache)))
            codes, shifts = self._cube(time)
            self.cube_cache[time] = MatterOverTime(codes[None], shifts[None])
        return self.cube_cache[time]

    def train(self, mode: bool = True) -> "Dyn3DVelocityPlanesModel":
        """Switch between training and evaluation; cubes kept for rendering are out of date after either."""
        self.cube_cache = {}
        return super().train(mode)

    def load_state_dict(self, state_dict: Mapping[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a checkpoint, resizing the planes to its resolution first."""
        self.cube_cache = {}
        last = state_dict.get("scene.slots.network.6.bias")
        if last is not None:
            self.scene.slots = SlotNetwork(len(last)).to(self.device)
        for name, parameter in self.named_parameters():
            if name in state_dict and parameter.shape != state_dict[name].shape:
                parameter.data = torch.zeros_like(state_dict[name], device=parameter.device)
        return super().load_state_dict(state_dict, **kwargs)

    def training_state(self) -> dict[str, Any]:
        """Return what the occupancy remembers of other times, for an exact resume."""
        return {} if self.matter is None else {"codes": self.matter.codes, "shifts": self.matter.shifts}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""
        if "codes" in state:
            self.matter = MatterOverTime(state["codes"].to(self.device), state["shifts"].to(self.device))

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare one evaluation image with the ground truth, on the evaluation background."""
        truth, rgb = composite(batch["image"].to(self.device), self.eval_background), quantize(outputs["rgb"])
        metrics = {"psnr": psnr_of_mse(mse(rgb, truth)), "ssim": float(ssim(rgb, truth))}
        return metrics, {"img": torch.cat([truth, rgb], dim=1)}
