"""``dyn3d-mononerf``: one dynamic radiance field for many monocular videos (Tian et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from jaxtyping import Float, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerDropdown
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine.device import flush_denormals, give_torch_the_cores, keep_freed_memory
from dyn3d_ns.engine.method import DynamicMethod, DynamicMethodConfig
from dyn3d_ns.engine.schedule import Phase
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.metrics.evaluation import RegionError, region_errors
from dyn3d_ns.metrics.image import quantize
from dyn3d_ns.models.faces import is_pinhole, through_faces
from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.models.mononerf.encoders import VideoEncoder
from dyn3d_ns.models.mononerf.fields import COLORS, DEPTH_CUES, DynamicField, StaticField
from dyn3d_ns.models.mononerf.lookup import PackedMaps
from dyn3d_ns.models.mononerf.losses import (
    Elsewhere,
    MonoNerfLosses,
    Rendered,
    Truth,
    Warped,
    dynamic_losses,
    static_losses,
)
from dyn3d_ns.models.mononerf.make_encoder import EncoderKind, make_encoder
from dyn3d_ns.models.mononerf.mending import mended_mask
from dyn3d_ns.models.mononerf.motion import Integration
from dyn3d_ns.models.mononerf.pictures import MonoNerfPictures, View
from dyn3d_ns.models.mononerf.proposals import Proposals
from dyn3d_ns.models.mononerf.scene import (
    Features,
    MonoNerfScene,
    blended,
    layers_of,
    weights_of,
)
from dyn3d_ns.models.mononerf.supervision import elsewhere, flow_to, truth_of, warped
from dyn3d_ns.models.mononerf.survey import survey_what_moves
from dyn3d_ns.models.mononerf.videos import Clip, RaysInCube, Videos
from dyn3d_ns.viewer.colors import flow_colors, velocity_colors
from dyn3d_ns.viewer.scene_cameras import SceneCameras

OWN = "its own"
"""What the drop-down of backgrounds says where none is exchanged."""


@dataclass
class MonoNerfModelConfig(DynamicMethodConfig):
    """Settings of the method; the defaults are the paper's, but for what small encoders need"""

    _target: type = field(default_factory=lambda: MonoNerfModel)
    """Target class to instantiate."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at once in evaluation."""
    parts: Literal["both", "static"] = "both"
    """What is trained: both fields one after the other, or only what rests."""
    static_part: float = 0.5
    """Part of the training that what rests gets."""
    velocity_guided: bool = True
    """Gather features where a place was and will be; without, those of its own time stand in for them."""
    integration: Integration = "euler"
    """How places are carried along the velocity: euler as in the released settings, or the paper's ode."""
    flow_steps: int = 2
    """Steps of Euler's rule for a frame."""
    temporal_encoder: EncoderKind = "small"
    """Encoder of what moves: small, slowonly, r3d_18, s3d; all but small need --temporal-weights."""
    temporal_weights: Path | None = None
    """File of its weights."""
    spatial_encoder: EncoderKind = "small"
    """Encoder of what rests: small, resnet18, resnet34, resnet50; all but small need --spatial-weights."""
    spatial_weights: Path | None = None
    """File of its weights."""
    channels: int = 32
    """Channels of a small encoder's features."""
    code: int = 256
    """Size of the code of a video."""
    encoder_period: int = 4
    """Steps between two at which small encoders are trained and features made anew."""
    width: int = 256
    """Units of a hidden layer."""
    static_blocks: int = 5
    """Residual blocks of what rests."""
    dynamic_blocks: int = 3
    """Residual blocks of what moves."""
    global_blocks: int = 2
    """Blocks that see the code of the video."""
    octaves: int = 10
    """Octaves of place and time."""
    sources: int = 3
    """Frames that what rests looks at."""
    colors_from_frames: bool = True
    """Start from the colours of the frames; without, the networks make them from features alone."""
    depth_cues: bool = True
    """Tell what moves how a place lies to the depth that a frame has there, where one is known."""
    reach: int = 4
    """Frames over which a place that the frame of its time hides is looked for, and what moves is followed to
    where it is hidden; 1 looks at the frames before and after alone."""
    samples: int = 64
    """Samples of a ray in training."""
    eval_samples: int = 64
    """Samples of a ray in pictures."""
    cells: tuple[int, int, int] = (96, 54, 96)
    """Cells of the grids that samples are placed by, along depth, height and width."""
    density_scale: float = 64.0
    """Density per length of the cube that a network's output of about one stands for."""
    mend_masks: bool = True
    """Mend motion masks that were made, for want of files, by what the static field cannot explain."""
    adapt_steps: Annotated[int, tyro.conf.arg(prefix_name=False)] = 0
    """Steps on a new scene, with the networks of --load-dir or new ones; 0 trains as planned."""
    losses: MonoNerfLosses = field(default_factory=MonoNerfLosses)
    """Weights of the losses."""


class MonoNerfModel(DynamicMethod):
    """The field as a Nerfstudio model that renders rays."""

    config: MonoNerfModelConfig
    takes_many_scenes = True
    resumes_with = " (--adapt-steps N takes its networks to new ones)"
    scene: MonoNerfScene

    def populate_modules(self) -> None:
        """Build the networks; nothing is downloaded and nothing goes to a device by itself."""
        super().populate_modules()
        if not torch.cuda.is_available():
            flush_denormals()
            keep_freed_memory()
            give_torch_the_cores()
        c, data = self.config, scene_of(self.kwargs["metadata"])
        if c.adapt_steps < 0:
            raise UserError(
                f"--adapt-steps must be at least 1, or 0 to train as planned, got {c.adapt_steps}"
            )
        self.set_up(torch.zeros(3), keep_background=False)
        frames = len(data.splits)
        scenes = 1 if data.scene_ids is None else int(data.scene_ids.max()) + 1
        self.scene_names = data.scene_names or tuple(f"scene {i}" for i in range(scenes))
        spatial = make_encoder(c.spatial_encoder, c.spatial_weights, channels=c.channels, code=0)
        temporal = make_encoder(c.temporal_encoder, c.temporal_weights, channels=c.channels, code=c.code)
        of = (c.octaves, c.density_scale, c.colors_from_frames)
        self.scene = MonoNerfScene(
            Videos(frames, scenes),
            spatial,
            temporal,
            StaticField(spatial.channels + COLORS, c.width, c.static_blocks, *of),
            DynamicField(
                temporal.channels + DEPTH_CUES * c.depth_cues + COLORS,
                c.code,
                c.width,
                c.dynamic_blocks,
                c.global_blocks,
                *of,
            ),
            Proposals(scenes, frames, c.cells),
            c.integration,
            c.flow_steps,
            c.sources,
            guided=c.velocity_guided,
            depth_cues=c.depth_cues,
            reach=c.reach,
        )
        self.fitted = torch.tensor([split == "train" for split in data.splits])
        self.pictures = MonoNerfPictures(self.scene, c.eval_num_rays_per_chunk, c.eval_samples)
        several = scenes > 1
        names = list(self.scene_names)
        self.shown_scene = ViewerDropdown("Scene", names[0], names, visible=several)
        self.background_scene = ViewerDropdown("Background", OWN, [OWN, *names], visible=several)
        if data.scene_ids is not None:
            self.scene_cameras = SceneCameras(self.shown_scene, data.scene_ids)
        self._made: dict[str, Features] = {}
        self._mendable: list[int] = []

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Take the frames of all scenes."""
        dataset, known = datamanager.train_dataset, scene_of(datamanager.train_dataset.metadata)
        ids = torch.zeros(len(dataset), dtype=torch.long) if known.scene_ids is None else known.scene_ids
        batches = datamanager.cached_train
        clips = []
        for scene in range(int(ids.max()) + 1):
            frames = (ids == scene).nonzero()[:, 0]
            some = [batches[int(i)] for i in frames]
            clips.append(
                Clip(
                    torch.stack([batch["image"][..., :3] for batch in some]),
                    torch.stack([batch["dynamic_mask"][..., 0] for batch in some]),
                    dataset.cameras[frames],
                    torch.stack([batch["depth"][..., 0] for batch in some]),
                    dataset.scene_box.aabb,
                    known.depth_bounds,
                )
            )
        self.scene.videos.fill(clips)
        source = known.priors
        self._mendable = [i for i in range(len(dataset)) if source.mask_is_made(i)]
        self._cameras = dataset.cameras

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what rests and what moves, each with its encoder."""
        s = self.scene
        return {
            "static": _trainable(s.static, s.spatial),
            "dynamic": _trainable(s.dynamic, s.temporal),
        }

    def phases(self) -> list[Phase]:
        """Return what rests, then what moves, on the frames that it is fitted to."""
        c = self.config
        static = Phase("static", 1.0, groups=frozenset({"static"}))
        if c.parts == "static":
            return [static]
        rest = Phase("static", c.static_part, groups=frozenset({"static"}))
        return [rest, Phase("dynamic", 1.0, groups=frozenset({"dynamic"}), frame_weights=self._fitted_frames)]

    def training_steps(self, configured: int) -> int:
        """Return the steps of a training: --adapt-steps where it adapts to a new scene."""
        return self.config.adapt_steps or configured

    def stops_at(self, configured: int) -> int:
        """Return the step at which it stops: --adapt-steps says it alone where it is given."""
        return self.schedule.steps

    def adapts(self, checkpoint: Mapping[str, Any]) -> bool:
        """Whether the networks of another training are taken to a new scene; its own is resumed."""
        steps = self.config.adapt_steps
        if steps == 0 or checkpoint["model"].get("adapt_steps") != steps:
            return steps > 0
        known = checkpoint["pipeline"].get("_model.scene.videos.pixels")
        return known is None or not torch.equal(known.cpu(), self.scene.videos.pixels.cpu())

    def load_networks(self, state: Mapping[str, Tensor]) -> None:
        """Take the networks and encoders of a training on other scenes.

        Raises:
            UserError: they have other sizes, or there are none.
        """
        networks = {
            name: value
            for name, value in self.state_dict().items()
            if name.split(".")[:2]
            in (["scene", part] for part in ("static", "dynamic", "spatial", "temporal"))
        }
        found = {name: state.get(f"_model.{name}") for name in networks}
        unlike = [n for n, value in found.items() if value is None or value.shape != networks[n].shape]
        if unlike:
            raise UserError(
                f"the networks of --load-dir are not those of this training ({unlike[0]} differs); adapt "
                "with the method and the --pipeline.model options that they were trained with"
            )
        for name, value in found.items():
            networks[name].copy_(value)

    def _fitted_frames(self, gone: float) -> Float[Tensor, "S F"]:
        """Return which of the recorded times the moving part is fitted to, scene by scene."""
        recorded = torch.tensor(self.timeline.frame_times)[:, None]
        times = [torch.tensor(self._fitted_times(scene)) for scene in range(self.scene.videos.num_scenes)]
        return torch.stack([((recorded - mine).abs() < 1e-5).any(1) for mine in times]).float()

    def enter_phase(self, phase: Phase) -> None:
        """Forget features of the part before."""
        self._made = {name: made for name, made in self._made.items() if phase.name == name}

    def leave_phase(self, phase: Phase) -> None:
        """Mend masks that were made, by what rests, before what moves is trained."""
        if phase.name == "static" and self.config.parts == "both" and self.config.mend_masks:
            self._mend_masks()

    @torch.no_grad()
    def _mend_masks(self) -> None:
        videos, changed = self.scene.videos, 0.0
        self.pictures.forget()
        for frame in self._mendable:
            camera = self._cameras[frame : frame + 1].to(self.device)
            rest = self.pictures.rest_without(camera, frame).cpu().numpy()
            mask, shown = videos.mask_of(frame), videos.picture_of(frame).cpu().numpy()
            mended = torch.from_numpy(mended_mask(mask.cpu().numpy(), shown, rest)).to(mask.device)
            changed += float((mended != mask).float().mean()) / len(self._mendable)
            mask.copy_(mended)
        if self._mendable:
            videos.forget()
            self.pictures.forget()
            CONSOLE.print(
                f"Masks of {len(self._mendable)} frames mended by what rests: {100 * changed:.1f} % of pixels"
            )

    def start_training(self, optimizers: dict[str, Optimizer]) -> None:
        """Take the optimizers."""
        super().start_training(optimizers)
        self.pictures.forget()

    @torch.no_grad()
    def finish(self) -> None:
        """Ask where what moves is; take the scale of its velocity's colours from the middle frame of each
        scene."""
        if self.config.parts == "static":
            return
        survey_what_moves(self.scene, self.pictures.features()[1], self.fitted.to(self.device))
        videos, speeds = self.scene.videos, []
        for scene in range(videos.num_scenes):
            frames = videos.frames_of(scene)
            frame = int(frames[len(frames) // 2])
            moves = videos.mask_of(frame).flatten()
            if bool(moves.any()):
                camera = self._cameras[frame : frame + 1].to(self.device)
                speeds.append(self.pictures.own_motion(camera, frame).velocity[moves].norm(dim=-1))
        if speeds:
            self.top_speed.fill_(torch.cat(speeds).quantile(0.98).clamp_min(1e-3))

    def _features(self, part: Literal["static", "dynamic"]) -> Features:
        """Return the features of a part, made anew with gradients every so many steps."""
        encoder, period = self._encoder(part), self.config.encoder_period
        trains = encoder.trainable and part == self.schedule.at(self.step).name
        if part in self._made and not (trains and self.step % period == 0):
            return self._made[part]
        with torch.set_grad_enabled(trains):
            made = self.scene.encode(encoder)
        self._made[part] = made.detach()
        return made

    def cast(self, bundle: RayBundle, frames: Int64[Tensor, "R"]) -> RaysInCube:
        """Bring rays of frames into the cubes of their scenes, at the frames' times."""
        videos = self.scene.videos
        starts, ways = torch.empty_like(bundle.origins), torch.empty_like(bundle.origins)
        of = videos.scene_of[frames]
        for scene in of.unique().tolist():
            mine = of == scene
            starts[mine], ways[mine] = videos.rays(scene, bundle.origins[mine], bundle.directions[mine])
        # Not the frame itself: a look at it would show the colour that is asked for.
        sources = _shuffled(videos.known().order[frames][:, 1:])
        return RaysInCube(frames, starts, ways, bundle.directions, videos.times[frames], sources)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:  # type: ignore[override]
        """Render training rays with gradients, the static field or both."""
        assert ray_bundle.camera_indices is not None
        rays = self.cast(ray_bundle, ray_bundle.camera_indices[:, 0].to(self.device))
        if self.schedule.at(self.step).name == "static":
            return self._static_outputs(rays) | {"bundle": ray_bundle}
        return self._dynamic_outputs(rays) | {"bundle": ray_bundle}

    def _static_outputs(self, rays: RaysInCube) -> dict[str, Any]:
        s = self.scene
        placed = s.sample(rays, self.config.samples, jitter=True, with_moving=False)
        places = s.places(rays, placed.at)
        rest = s.resting(rays, places, placed.surface, self._features("static"))
        s.proposals.note(s.proposals.resting, s.videos.scene_of[rays.frames], places, rest.density)
        weights = weights_of(rest.density, placed.lengths)
        return {"rays": rays, "rgb": blended(weights, rest.color()), "weights": weights, "at": placed.at}

    def _dynamic_outputs(self, rays: RaysInCube) -> dict[str, Any]:
        s = self.scene
        placed = s.sample(rays, self.config.samples, jitter=True, with_moving=True)
        places = s.places(rays, placed.at)
        with torch.no_grad():
            rest = s.resting(rays, places, placed.surface, self._features("static"))
        seen = self._features("dynamic")
        # Rays of a frame end at what it shows.
        moving = s.moving(rays.times, places, seen, rays.frames, farther=False)
        s.note_moving(rays.frames, places, moving)
        layers = layers_of(moving.density, moving.blend, rest.density, placed.lengths)
        with torch.no_grad():
            color = rest.color(layers.resting)
        weights = weights_of(moving.density, placed.lengths)
        out = Rendered(
            placed.at,
            placed.lengths,
            places,
            moving,
            weights,
            weights_of(rest.density, placed.lengths),
            layers,
            blended(layers.moving, moving.color) + blended(layers.resting, color),
            blended(weights, moving.color),
        )
        return {"rays": rays, "rgb": out.color, "rendered": out}

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Return nothing beside the losses."""
        return {}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of the phase times their weights."""
        rays: RaysInCube = outputs["rays"]
        truth = truth_of(self.scene.videos, rays, outputs["bundle"], batch)
        if "rendered" not in outputs:
            return static_losses(outputs["rgb"], outputs["weights"], outputs["at"], truth, self.config.losses)
        out: Rendered = outputs["rendered"]
        flows = [
            flow_to(self.scene, rays, out, truth, (batch["flow"], batch["flow_valid"]), 1),
            flow_to(self.scene, rays, out, truth, (batch["flow_back"], batch["flow_back_valid"]), -1),
        ]
        followed = self._warped(out, rays, truth), self._elsewhere(out, rays, truth)
        return dynamic_losses(out, truth, flows, *followed, self.config.losses)

    def _warped(self, out: Rendered, rays: RaysInCube, truth: Truth) -> Warped | None:
        """Follow some rays a frame onwards or back, in turn."""
        c = self.config.losses
        if self.step % c.warp_period:
            return None
        frames = 1 if (self.step // c.warp_period) % 2 == 0 else -1
        there = (self.scene.videos.shifted(rays.frames, frames) != rays.frames).nonzero()[:, 0]
        count = round(len(there) * c.warp_share)
        some = there[torch.randperm(len(there), device=self.device)[:count]]
        if not len(some):
            return None
        return warped(self.scene, rays, out, truth, self._made["dynamic"], some, frames)

    def _elsewhere(self, out: Rendered, rays: RaysInCube, truth: Truth) -> Elsewhere | None:
        """Follow what moves to frames that hide it, one to so many frames on and back in turn."""
        c, reach = self.config.losses, self.config.reach
        is_used = reach > 1 and (c.hidden_color > 0 or c.hidden_blending > 0)
        if not is_used or self.step % c.warp_period != c.warp_period // 2:
            return None
        turn, most = self.step // c.warp_period, round(len(rays.frames) * c.warp_share)
        return elsewhere(
            self.scene, rays, out, truth, self._made["dynamic"], frames_in_turn(turn, reach), most
        )

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Any]:
        """Render a camera of the scene that is shown, at its time.

        A camera of an evaluation says itself which scene it belongs to.
        """
        if not is_pinhole(camera):
            return through_faces(self.get_outputs_for_camera, camera.to(self.device))
        scene = int((camera.metadata or {}).get("scene_id", self.scene_shown))
        chosen = self.background_scene.value
        background = scene if chosen == OWN else self.scene_names.index(chosen)
        camera = camera.to(self.device)
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        view = View(camera, time, scene, background)
        shape = (int(camera.height.flatten()[0]), int(camera.width.flatten()[0]), -1)
        images = {name: value.view(shape) for name, value in self.pictures.render(view)._asdict().items()}
        if self.config.parts == "static":
            images["rgb"] = images["static"]
        images["accumulation"] = torch.ones_like(images["depth"])
        motion = cache(lambda: self.pictures.motion(view))
        top = max(float(self.top_speed), 1e-6)

        def flow() -> Tensor:
            found = motion().flow.view(shape)
            return flow_colors(found, max(float(found.norm(dim=-1).max()), 1.0))

        rest = {
            "dynamic": lambda: motion().dynamic.view(shape),
            "flow": flow,
            "velocity": lambda: velocity_colors(motion().velocity.view(shape), top),
        }
        return LazyOutputs(images, rest)

    @property
    def scene_shown(self) -> int:
        """Number of the scene that the drop-down shows."""
        return self.scene_names.index(self.shown_scene.value)

    def show_scene(self, scene: str) -> None:
        """Show another scene of the training.

        Raises:
            UserError: there is no such scene.
        """
        self._require_scene(scene)
        self.shown_scene.value = scene

    def show_background_of(self, scene: str) -> None:
        """Show what moves before what rests in another scene of the training.

        Raises:
            UserError: there is no such scene.
        """
        self._require_scene(scene)
        self.background_scene.value = scene

    def _require_scene(self, scene: str) -> None:
        if scene not in self.scene_names:
            raise UserError(f"no scene is called {scene}; the training has {', '.join(self.scene_names)}")

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of what is at points of the shown scene, world units per unit of time."""
        return self.pictures.velocity(points.to(self.device), time, self.scene_shown).to(points)

    @torch.no_grad()
    def score(
        self, camera: Cameras, batch: dict[str, Any], outputs: dict[str, Any]
    ) -> dict[str, float | RegionError]:
        """Return the errors, over what moves and what does not, of simpler answers to compare with.

        `static_alone` is what rests alone; `nearest`, at times that what moves was not fitted to, the whole
        at the nearest time that it was.
        """
        target = composite(batch["image"].to(self.device), self.eval_background)
        mask = batch.get("dynamic_mask")
        found = {"static_alone": outputs["static"]}
        scene = int((camera.metadata or {}).get("scene_id", 0))
        fitted = self._fitted_times(scene)
        time = float(camera.times) if camera.times is not None else 0.0
        nearest = min(fitted, key=lambda t: abs(t - time))
        if camera.times is not None and abs(nearest - time) > 1e-5:
            other = copy(camera)
            other.times = torch.full_like(camera.times, nearest)
            found["nearest"] = self.get_outputs_for_camera(other)["rgb"]
        return {
            f"{name}_{region}": error
            for name, image in found.items()
            for region, error in region_errors(quantize(image), target, mask).items()
        }

    def _fitted_times(self, scene: int) -> list[float]:
        """Return the times of a scene that what moves is fitted to."""
        videos = self.scene.videos
        frames = videos.frames_of(scene).cpu()
        return videos.times.cpu()[frames[self.fitted[frames]]].tolist()

    def describe_size(self) -> dict[str, int]:
        """Return the number of parameters."""
        return {"parameters": sum(p.numel() for p in self.parameters())}

    def train(self, mode: bool = True) -> MonoNerfModel:
        """Switch between training and evaluation, after either of which features are out of date.

        Viewers ask for evaluation before each picture; what is kept stays then.
        """
        if mode or self.training:
            self.pictures.forget()
        return super().train(mode)

    def load_state_dict(self, state_dict: Mapping[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a checkpoint with its frames."""
        videos, pixels = self.scene.videos, state_dict.get("scene.videos.pixels")
        if pixels is not None and len(videos.pixels) and not torch.equal(videos.pixels.cpu(), pixels.cpu()):
            raise UserError(
                "the checkpoint is of other images than --data has; --adapt-steps N takes its networks to "
                "new ones, and to resume give the data that the training had"
            )
        videos.resize_like(dict(state_dict), "scene.videos.")
        self.pictures.forget()
        found = super().load_state_dict(state_dict, **kwargs)
        videos.forget()
        return found

    def training_state(self) -> dict[str, Any]:
        """Return the features in use of encoders that train, for an exact resume; others are made anew."""
        kept = {name: made for name, made in self._made.items() if self._encoder(name).trainable}
        features = {name: {**m.maps._asdict(), "pooled": m.pooled} for name, m in kept.items()}
        return {"adapt_steps": self.config.adapt_steps, "features": features}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on with the features of :meth:`training_state`."""
        for name, found in state["features"].items():
            here = {key: value.to(self.device) for key, value in found.items()}
            pooled = here.pop("pooled")
            self._made[name] = Features(PackedMaps(**here), pooled)

    def _encoder(self, part: str) -> VideoEncoder:
        return self.scene.spatial if part == "static" else self.scene.temporal


def frames_in_turn(turn: int, reach: int) -> int:
    """Return how many frames on (or back, below 0) a turn looks: 1, -1, 2, -2 and so on, and over again."""
    turn %= 2 * reach
    return (turn // 2 + 1) * (1 if turn % 2 == 0 else -1)


def _trainable(*modules: nn.Module) -> list[nn.Parameter]:
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def _shuffled(sources: Int64[Tensor, "R M"]) -> Int64[Tensor, "R M"]:
    """Shuffle the nearer half of the sources of each ray, so that a training meets different ones."""
    near = max(sources.shape[1] // 2, 1)
    order = torch.rand(len(sources), near, device=sources.device).argsort(dim=1)
    return torch.cat([sources[:, :near].gather(1, order), sources[:, near:]], dim=1)
