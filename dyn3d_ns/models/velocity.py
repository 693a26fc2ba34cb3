"""``dyn3d-velocity``: Gaussians carried by a keyframe network and a velocity field.

Where several cameras see each moment, the Gaussians are laid out at the middle time and followed from there
outward; what they did is cut into bodies, each with a rigid motion and a few latent ones (the keyframe
network), and everything is trained together after that. A single moving camera widens its window of times
instead, and Gaussians mix shared rigid motions. The velocity field is the rate of the motions; the future
follows their continuation, which back-tests choose.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine.schedule import Phase, fixed_window, halved_until, widening_window
from dyn3d_ns.fields.forecast import Observed, forecast
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.motion_table import ROW
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.bodies import Bodies, describe_bodies, rotation_vectors, tell_apart
from dyn3d_ns.gaussians.carried import CERTAIN, CarriedScene, initial_parameters, spread_pivots
from dyn3d_ns.gaussians.colors import ColorWaves
from dyn3d_ns.gaussians.seeds.points import MIN_VIEWS, SeedPoints
from dyn3d_ns.gaussians.skinning import BEND
from dyn3d_ns.gaussians.tracking import Tracks, outward
from dyn3d_ns.geometry.cameras import pixel_sizes, to_camera
from dyn3d_ns.losses.photometric import composite, recorded_image
from dyn3d_ns.metrics.evaluation import RegionError
from dyn3d_ns.metrics.foretold import foretold_error
from dyn3d_ns.models.faces import is_pinhole
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig, TrainingView
from dyn3d_ns.models.rest import Look, RestFinder
from dyn3d_ns.timeline import TIME_EPS

LOOK = frozenset({"means", "scales", "quats", "opacities", "features_dc", "features_rest"})
"""Parameter groups of Gaussians that do not move."""
SAMPLES = 65
"""Observed times that the forecast looks at."""
FOLLOWED = 200
"""Gaussians a motion that the forecast looks at."""
LEAST_MASS = 1e-3
"""Opacities that a motion has to carry, summed up, to count."""
MEASURED, MEASURED_EVERY = 0.05, 10
"""Last part of the training in which the error of the images is noted, at every so many steps."""
LOOKS = 4
"""Moments, and cameras at each, whose images tell what rests."""
UNCERTAIN = 0.02
"""Expected displacement, of the scene's extent, that is shown at full range."""
LEAST_FRAMES = 5
"""Frames that have to be followed for a motion to be told from them."""


@dataclass
class Dyn3DVelocityModelConfig(GaussianModelConfig):
    """Settings of the Gaussian method with shared motions."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityModel)
    """Target class to instantiate."""
    num_motions: int = 16
    """Motions that the Gaussians share, rest included; the most bodies that are told apart, and rest."""
    latent_motions: int = 8
    """Functions of time by which each body bends; 0 for rigid bodies."""
    keyframes: int = 6
    """Spline intervals over the observed time, for what a cubic polynomial of time cannot follow; where
    Gaussians are followed frame by frame one for every four frames, if those are more."""
    color_modes: int = 3
    """Cosines of time that the base colour may follow; 0 for colours that do not change."""
    turn_colors: bool = True
    """Turn the view dependence with the matter, so that a side keeps its colour as it comes round."""
    canonical_part: float = 0.12
    """Part of the training that sees only the canonical time."""
    tracking_part: float = 0.33
    """Part of the training in which the Gaussians are followed frame by frame, where three or more cameras
    see each; 0 to widen the window of times instead."""
    tracked_gaussians: int = 10_000
    """Gaussians that are followed, at most; more come after that."""
    frame_steps: int = 40
    """Least steps for a frame that is followed; with fewer to spare frames are left out."""
    tracking_rate: float = 5e-3
    """Learning rate of places and orientations while they are followed; it falls to a tenth in each
    frame."""
    neighbour_weight: float = 1e-3
    """Weight of the neighbours' rigidity while Gaussians are followed."""
    refining_rates: tuple[float, float, float] = (0.25, 0.02, 4.0)
    """Factors of the learning rates of places, of motions and of view dependence after Gaussians were
    followed: the first two are known by then."""
    refining_opacity: float = 0.1
    """Factor of the opacities' weight after Gaussians were followed: by then what was hidden has faded."""
    curriculum_part: float = 0.35
    """Part of the training by the end of which the allowed times have widened to all observed ones, where
    Gaussians are not followed."""
    rest_distance: float = 0.004
    """Gaussians that stay within this fraction of the scene's extent while they are followed rest."""
    freeze_distance: float = 0.001
    """Gaussians that stay within this fraction of the scene's extent are frozen at the end."""
    half_resolution_part: float = 0.3
    """Part of the training that renders at half resolution; of the canonical part, where Gaussians are
    followed after that."""
    jerk_weight: float = 1e-2
    """Weight of the rigid motions' third derivative (world units and radians, half of the observed time as
    the unit)."""
    opacity_weight: float = 1e-2
    """Weight of the mean opacity (3DGS-MCMC, equation 10); what no camera sees fades and is relocated."""
    holdout: float = 0.25
    """Part of the observed time that is predicted to choose each motion's continuation."""


class Dyn3DVelocityModel(GaussianModel):
    """Gaussians carried by shared motions, and the velocity field that these make."""

    config: Dyn3DVelocityModelConfig
    scene: CarriedScene
    planned_steps: int = 0
    tracks: Tracks | None = None
    """What was found of the Gaussians that are being followed."""

    @property
    def seen_together(self) -> bool:
        """Whether three or more training images show each moment, on average."""
        return self.num_train_data >= MIN_VIEWS * len(self.observed_times)

    def make_scene(self, seeds: SeedPoints) -> CarriedScene:
        """Build the motions around the seed points."""
        c, t_min, t_obs = self.config, self.observed_times[0], self.timeline.t_obs
        pivots = spread_pivots(seeds.positions, c.num_motions)
        params = initial_parameters(
            seeds,
            pivots,
            c.sh_degree,
            c.color_modes,
            opacity=0.3,
            max_scale=0.03 * self.extent,
            latents=c.latent_motions,
        )
        keyframes = max(c.keyframes, len(self.observed_times) // 4) if self.seen_together else c.keyframes
        basis = TimeBasis(self.canonical_time, t_min, t_obs, degrees=(1, 2, 3), keyframes=keyframes)
        return CarriedScene(
            params,
            KeyframeMotions(basis, pivots, c.latent_motions, self.timeline.dt),
            ColorWaves(c.color_modes, t_min, t_obs) if c.color_modes else None,
            c.turn_colors,
        )

    @property
    def motions(self) -> KeyframeMotions:
        """The keyframe network."""
        return self.scene.motions

    @property
    def first_gaussians(self) -> int:
        """Gaussians to start from."""
        most = self.config.max_gaussians
        return min(most, self.config.tracked_gaussians) if self.seen_together else most

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the motions."""
        return {"motions": list(self.motions.parameters())}

    def plan(self, steps: int) -> None:
        """Set the schedule up; how many frames are followed depends on the steps."""
        self.planned_steps = steps
        super().plan(steps)

    def followed_frames(self) -> list[int]:
        """Return the frames that are followed, in order; none where too few cameras see each, or too few
        steps are planned."""
        c, count = self.config, len(self.observed_times)
        affordable = int(c.tracking_part * self.planned_steps) // max(c.frame_steps, 1)
        if not self.seen_together or min(affordable, count - 1) < LEAST_FRAMES:
            return []
        stride = 1
        while len(frames := outward(count, self.canonical_index, stride)) > affordable:
            stride += 1
        return frames

    def phases(self) -> list[Phase]:
        """Return the canonical time, then each frame that is followed, then all times; or, where none is
        followed, wider and wider windows around the canonical time before these.

        The first part renders at half resolution.
        """
        c, center = self.config, self.canonical_time
        first, last = self.observed_times[0], self.timeline.t_obs
        frames, at_once = self.followed_frames(), fixed_window(first, last)
        if frames:
            start = min(max(c.canonical_part, 0.0), 0.5)
            each = min(c.tracking_part, 0.9 - start) / len(frames)
            phases = [Phase("canonical", start, fixed_window(center, center), groups=LOOK)] if start else []
            for i, frame in enumerate(frames):
                t = self.observed_times[frame]
                phases.append(
                    Phase(
                        f"frame {frame}",
                        start + (i + 1) * each,
                        fixed_window(t, t),
                        groups=frozenset({"means", "quats"}),
                        fresh_optimizers=True,
                    )
                )
            trained = frozenset(self.get_param_groups()) - {"motion_codes"}
            phases.append(Phase("all", 1.0, at_once, groups=trained, fresh_optimizers=True))
            return halved_until(phases, min(c.half_resolution_part, 0.9) * start)
        widening = widening_window(center, first, last, c.canonical_part, c.curriculum_part)
        phases = [
            Phase("canonical", c.canonical_part, fixed_window(center, center)),
            Phase("widening", c.curriculum_part, widening),
            Phase("all", 1.0, at_once),
        ]
        kept: list[Phase] = []
        for phase in phases:
            until = min(phase.until, 1.0)
            if until > (kept[-1].until if kept else 0.0):
                kept.append(replace(phase, until=until))
        return halved_until(kept, c.half_resolution_part)

    @property
    def following(self) -> int | None:
        """Frame that is being followed."""
        name = self.schedule.at(self.step).name
        return int(name.split()[1]) if name.startswith("frame ") else None

    @property
    def refining(self) -> bool:
        """Whether everything is trained together, after Gaussians were followed."""
        return self.schedule.at(self.step).name == "all" and bool(self.followed_frames())

    def training_gaussians(self, t: float) -> Gaussians:
        """Return the Gaussians as they lie while they are laid out or followed, else carried to ``t``."""
        phase = self.schedule.at(self.step)
        if self.following is not None or (phase.name.startswith("canonical") and phase.groups is LOOK):
            return self.scene.laid_out()
        return self.scene.training_at(t)

    def regularizers(self, gaussians: Gaussians) -> dict[str, Float[Tensor, ""]]:
        """Return the neighbours' rigidity of what is followed; else the motions' jerk and the mean
        opacity."""
        c, losses = self.config, {}
        if self.following is not None:
            stay = self._tracks().neighbours.loss(gaussians.means, gaussians.quats)
            return {"neighbours": c.neighbour_weight * stay}
        if c.jerk_weight:
            losses["jerk"] = self.motions.jerk(c.jerk_weight)
        if c.opacity_weight:
            weight = c.opacity_weight * (c.refining_opacity if self.refining else 1.0)
            losses["opacity"] = weight * gaussians.opacities.mean()
        return losses

    def _tracks(self) -> Tracks:
        if self.tracks is None:
            params = self.scene.params
            self.tracks = Tracks(self.observed_times, self.canonical_index, params["means"], params["quats"])
        return self.tracks

    def before_step(self, step: int) -> None:
        """Set the learning rates of what is followed, and of what is refined."""
        c = self.config
        if self.following is not None:
            rate = c.tracking_rate * 0.1 ** self.schedule.part_of_phase(step)
            for name in ("means", "quats"):
                self.optimizers[name].param_groups[0]["lr"] = rate
        elif self.refining:
            groups = ("means", "motions", "features_rest")
            for name, factor in zip(groups, c.refining_rates, strict=True):
                self.optimizers[name].param_groups[0]["lr"] *= factor

    def after_step(self, step: int) -> None:
        """Densify, but keep the Gaussians that are laid out to be followed."""
        if self.schedule.at(step).name == "all" or not self.followed_frames():
            super().after_step(step)

    @torch.no_grad()
    def leave_phase(self, phase: Phase) -> None:
        """Start what is followed at its next frame; at the last one describe what was found."""
        frames, params = self.followed_frames(), self.scene.params
        if not frames or not (phase.name.startswith("frame ") or phase.name == "canonical"):
            return
        tracks, coming = self._tracks(), 0
        if phase.name != "canonical":
            frame = int(phase.name.split()[1])
            tracks.record(frame, params["means"], params["quats"])
            coming = frames.index(frame) + 1
        if coming == len(frames):
            self._describe_motion(tracks)
            self.tracks = None
            return
        means, quats = tracks.start(frames[coming])
        params["means"].copy_(means)
        params["quats"].copy_(quats)

    def _describe_motion(self, tracks: Tracks) -> None:
        """Cut what was followed into bodies, and set their motions and what bends them."""
        c, params = self.config, self.scene.params
        means, quats = tracks.found[tracks.canonical]
        params["means"].copy_(means)
        params["quats"].copy_(quats)
        times, paths, turns = tracks.paths()
        canonical = int(np.argmin(np.abs(times - self.canonical_time)))
        mass = self.scene.opacities.double().cpu().numpy()
        most, rest = c.num_motions - 1, c.rest_distance * self.extent
        labels = tell_apart(paths, canonical, mass, rest, most)
        sizes = self.scene.scales.mean(1).double().cpu().numpy()
        bodies = describe_bodies(labels, paths, turns, canonical, mass, sizes, c.latent_motions, most)
        self._set_motions(times, canonical, bodies)
        reach = np.linalg.norm(paths - paths[canonical], axis=2).max(0) / self.extent
        self._let_rest(torch.from_numpy(reach).float())
        labels = self.scene.codes().argmax(1).cpu().numpy()
        counts = np.bincount(labels, minlength=1)
        moving = ", ".join(str(n) for n in counts[1:])
        CONSOLE.log(f"{counts[0]} Gaussians rest; bodies that move have {moving or 'none'}")

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Start on what the images show, and keep at hand where they are."""
        super().seed(datamanager)
        self._images_at = datamanager.images_at

    def _let_rest(self, reach: Float[Tensor, "N"]) -> None:
        """Let rest what the images show as well at rest: whole bodies, then Gaussians by themselves.

        Args:
            reach: How far each Gaussian was found to move, of the scene's extent.
        """
        frames = np.linspace(0, len(self.observed_times) - 1, LOOKS).round().astype(int)
        finder = RestFinder(
            self.rasterize_gaussians,
            self.eval_background,
            [look for frame in frames for look in self._looks_at(int(frame))],
            self.scene.training_at,
            self.scene.laid_out(),
        )
        labels = self.scene.codes().argmax(1)
        rests = finder.single(finder.bodies(labels), reach.to(labels.device))
        params = self.scene.params
        params["motion_codes"][rests] = -CERTAIN
        params["motion_codes"][rests, 0] = CERTAIN
        params["bends"][rests] = 0.0

    def _looks_at(self, frame: int) -> list[Look]:
        """Return what some of the cameras saw at an observed time."""
        cameras, images = self._images_at(frame)
        chosen = range(0, len(images), max(len(images) // LOOKS, 1))
        background = self.eval_background
        return [Look(self.view_through(cameras[i : i + 1]), composite(images[i], background)) for i in chosen]

    def _set_motions(self, times: np.ndarray, canonical: int, bodies: Bodies) -> None:
        motions, params = self.motions, self.scene.params
        labels = torch.from_numpy(bodies.labels).to(self.device)
        params["motion_codes"].fill_(-CERTAIN)
        params["motion_codes"].scatter_(1, labels[:, None], CERTAIN)
        params["bends"].zero_()
        params["bends"][..., : BEND - 1] = torch.from_numpy(bodies.bends).to(params["bends"])
        motions.pivots.copy_(torch.from_numpy(bodies.centers))
        pivots = bodies.centers[1:]
        turned = np.einsum("tkij,kj->tki", bodies.rotations[:, 1:], pivots)
        shifts = bodies.translations[:, 1:] + turned - pivots
        vectors = [rotation_vectors(bodies.rotations[:, k], canonical) for k in range(1, len(pivots) + 1)]
        values = np.concatenate([shifts, np.stack(vectors, axis=1), bodies.latents[:, 1:]], axis=2)
        design = motions.basis(times).double().numpy()
        solution = np.linalg.lstsq(design, values.reshape(len(times), -1), rcond=None)[0]
        motions.coefficients.copy_(torch.from_numpy(solution).view(motions.coefficients.shape))

    def training_state(self) -> dict[str, Any]:
        """Add what was found of the Gaussians that are being followed."""
        state = super().training_state()
        return state if self.tracks is None else {**state, "tracks": self.tracks.get_state()}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""
        state = dict(state)
        tracks = state.pop("tracks", None)
        super().load_training_state(state)
        if tracks is not None:
            self.tracks = Tracks.from_state(self.observed_times, self.canonical_index, tracks)

    @torch.no_grad()
    def finish(self) -> None:
        """Freeze what rests, settle the motion, and note the speed that fast parts have."""
        times = list(np.linspace(self.observed_times[0], self.timeline.t_obs, 13))
        resting = self.scene.freeze_static(times, self.config.freeze_distance * self.extent)
        CONSOLE.log(f"{resting} of {len(self.scene)} Gaussians are at rest")
        self.settle_motion()
        speeds = torch.stack([self.gaussians_at(t).motion.norm(dim=-1).quantile(0.98) for t in times[::4]])
        self.top_speed.fill_(speeds.max())

    def populate_modules(self) -> None:
        """Set up what every Gaussian method has, and what is known of the forecast's pictures."""
        super().populate_modules()
        self.register_buffer("fit_error", torch.zeros(()))
        self.playback.note = self.describe_trust

    fit_error: Float[Tensor, ""]
    """Mean squared error of the training images at the end."""

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Note how well the images are met by now, in the last part of the training."""
        if self.schedule.part(self.step) >= 1 - MEASURED and self.step % MEASURED_EVERY == 0:
            with torch.no_grad():
                background, scale = outputs["background"], self.schedule.at(self.step).downscale
                shown = outputs["render"] + (1 - outputs["accumulation"]) * background
                truth = recorded_image(batch["image"].to(shown.device), background, scale)
                error = (shown - truth).square().mean()
                self.fit_error.copy_(torch.lerp(self.fit_error, error, 0.1) if self.fit_error else error)
        return super().get_loss_dict(outputs, batch, metrics_dict)

    def describe_trust(self, time: float) -> str:
        """Say how far what moves is expected to be off at a time; nothing at observed times."""
        off = self.scene.uncertainties(time)
        moving = off[off > 0]
        if len(moving) == 0:
            return ""
        far = float(moving.mean())
        return f"expected to be {far / self.world.scale:.2g} units off ({far / self.extent:.1%} of the scene)"

    def _off_in_pixels(self, view: TrainingView, gaussians: Gaussians) -> Float[Tensor, "H W 2"]:
        """Return how far what each pixel shows is expected to be off: world units, and pixels."""
        off = self.scene.uncertainties(view.time)
        depth = to_camera(gaussians.means, view.viewmats[0])[:, 2].clamp_min(self.config.camera_near)
        channels = torch.stack([off, off / pixel_sizes(depth, view.Ks[0])], dim=1)
        return self.rasterize_gaussians(gaussians, view, channels)[0][0]

    def more_outputs(
        self, gaussians: Gaussians, view: TrainingView, ready: Mapping[str, Tensor]
    ) -> dict[str, Callable[[], Tensor]]:
        """Add how far what is seen is expected to be off: 1 is a fiftieth of the scene's extent."""

        def uncertainty() -> Tensor:
            return (self._off_in_pixels(view, gaussians)[..., :1] / (UNCERTAIN * self.extent)).clamp(0, 1)

        return {**super().more_outputs(gaussians, view, ready), "uncertainty": uncertainty}

    def score(
        self, camera: Cameras, batch: dict[str, Any], outputs: dict[str, Any]
    ) -> dict[str, float | RegionError]:
        """Return the error that the forecast expects of its picture, where it is one (``foretold_psnr``)."""
        if self.time_of(camera) <= self.timeline.t_obs + TIME_EPS or not is_pinhole(camera):
            return {}
        view, rgb = self.view_through(camera), outputs["rgb"]
        off = self._off_in_pixels(view, self.gaussians_at(view.time))[..., 1:]
        expected = foretold_error(rgb, off, float(self.fit_error))
        return {"foretold": RegionError(expected, rgb.shape[0] * rgb.shape[1])}

    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of the matter at points of the scene, world units per unit of time."""
        return self.scene.velocity_at(points, time)

    @torch.no_grad()
    def settle_motion(self) -> None:
        """Say how the motions go on, and how far that is to be trusted; only observed times are read."""
        motions, first, last = self.motions, self.observed_times[0], self.timeline.t_obs
        codes, mass = self.scene.codes()[:, 1:], self.scene.opacities
        share = codes * mass[:, None]
        if last - first < TIME_EPS or not bool((share.sum(0) > LEAST_MASS).any()):
            return
        picked = share.topk(min(FOLLOWED, len(share)), dim=0).indices.flatten().unique()
        times = np.linspace(first, last, SAMPLES)
        tables = torch.stack([motions.table(float(t)) for t in times])[:, 1:].double().cpu().numpy()
        points, bends, codes, mass = (
            x[picked].double().cpu().numpy()
            for x in (self.scene.params["means"], self.scene.params["bends"][..., :3], codes, mass)
        )
        seen = Observed(
            times,
            tables[..., :9].reshape(*tables.shape[:2], 3, 3),
            tables[..., 9:12],
            tables[..., ROW:],
            points,
            bends,
            codes,
            mass,
        )
        ahead = len(self.timeline.frame_times) - len(self.observed_times)
        found = forecast(
            seen, self.timeline.dt, max(len(self.observed_times), 2 * ahead), self.config.holdout
        )
        rotations, shifts, latents, errors = (
            torch.from_numpy(np.concatenate([np.zeros_like(x[:, :1]), x], axis=1)).float()
            for x in (found.rotations, found.translations, found.latents, found.errors)
        )
        rotations[:, 0] = torch.eye(3)
        quats = Rotation.from_matrix(rotations.flatten(0, 1).numpy()).as_quat()[:, [3, 0, 1, 2]]
        quats = torch.from_numpy(quats.copy()).float().view(*rotations.shape[:2], 4)
        motions.go_on(*(x.to(self.device) for x in (quats, shifts, latents, errors)))
        carried = (share.sum(0) > LEAST_MASS).tolist()
        kinds = Counter(note for note, counts in zip(found.notes, carried, strict=True) if counts)
        CONSOLE.log("In the future:\n" + "\n".join(f"  {n} x {kind}" for kind, n in kinds.most_common()))
