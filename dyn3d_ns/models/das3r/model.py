"""The static scene behind what moves, from one video: masks, poses and Gaussians refined together.

DAS3R (Xu, Tan, Li, Qu and Bai, arXiv 2412.19584) gives every pixel of every frame a Gaussian whose staticness
is both a factor of its opacity and the weight of its pixel in the loss. Here the two roles are apart: a logit
per Gaussian, and a map per view that starts from the motion which the video's masks show and is looked at
again once the static scene explains the rest. The released behaviour is in `paper.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.data.priors import Priors
from dyn3d_ns.engine.schedule import Phase
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.seeds.depth_maps import depth_points, staticness_of_points
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, ViewSet
from dyn3d_ns.gaussians.static import StaticnessScene, staticness_scene
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.footage.base import Prior
from dyn3d_ns.io.images import resize_area
from dyn3d_ns.io.resampling import nearest_to
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.metrics.evaluation import FrameScore, RegionError
from dyn3d_ns.metrics.image import quantize
from dyn3d_ns.models.das3r.cameras import RefinedCamerasConfig, RefinedCamerasModel
from dyn3d_ns.models.das3r.checks import tell_what_is_odd
from dyn3d_ns.models.das3r.coverage import Contributions, contributions
from dyn3d_ns.models.das3r.masks import MaskSettings, residual, robust_scale, second_look, widen
from dyn3d_ns.models.das3r.movers import join, looked_up, movers_of_frame
from dyn3d_ns.models.das3r.scoring import clean_scores, overall, static_scores
from dyn3d_ns.models.gaussian_model import TrainingView

_SAME_POSE = 1e-3
"""Difference of world-to-camera matrices below which a view is that of the frame's own camera."""
_COUNTS = 0.15
"""Staticness above which a pixel counts in the loss."""
_SEEN_SHARE = 0.5
"""Part of what a pixel shows that must have been seen at rest."""
_UNMASKED = 0.1
"""How likely a pixel moves, before any look, where nobody made masks."""
_HARDLY_RESTS = 0.25
"""Part of a Gaussian that must show at rest for it to stay."""
_FADED = -5.0
"""Logit of the staticness of what is taken out of the scene."""
_DRAW_EVERY = 100
"""Steps between two drawings of the cameras in the viewer."""


@dataclass
class Das3rModelConfig(RefinedCamerasConfig):
    """Settings of the static scene behind what moves."""

    _target: type = field(default_factory=lambda: Das3rModel)
    """Target class to instantiate."""
    densify: Literal["mcmc", "default", "none"] = "none"
    """Densification strategy of gsplat; none, since movers that a mask misses would be fitted with it."""
    ssim_weight: float = 0.2
    """Weight of structural dissimilarity beside the absolute error, 0..1."""
    use_masks: bool = True
    """Start from the motion that the video's masks show; without it everything counts as static at first."""
    use_staticness: bool = True
    """Let each Gaussian's staticness multiply its opacity."""
    mask_margin: float = 0.005
    """Part of the image's longer side by which what moves is widened."""
    refine_masks: bool = True
    """Look at the masks again once the static scene explains what rests."""
    looks: tuple[float, ...] = (0.3, 0.55, 0.8)
    """Parts of the training after which the masks are looked at again, rising."""
    masks: MaskSettings = field(default_factory=MaskSettings)
    """Settings of that."""
    shadows: bool = True
    """Let each training view be darkened by a coarse map of its own, so that shadows of what moves do not
    stay in the scene."""
    shadow_weight: float = 0.02
    """Weight of that darkness and of its steps."""
    start_opacity: float = 0.3
    """Opacity to start from, 0..1."""


class Das3rModel(RefinedCamerasModel):
    """Gaussians that rest, with what each training view needs to be compared with them."""

    config: Das3rModelConfig
    scene: StaticnessScene

    def populate_modules(self) -> None:
        """Build the scene, and room for what belongs to the views."""
        super().populate_modules()
        self._dataset: DynamicDataset | None = None
        self._motion: Tensor | None = None
        self._witnessed: Tensor | None = None
        self._movers: tuple[int, Gaussians | None] = (-1, None)

    def make_scene(self, seeds: SeedPoints) -> StaticnessScene:
        """Put round Gaussians on the seed points."""
        c = self.config
        scene = staticness_scene(seeds, c.sh_degree, c.start_opacity, max_scale=0.05 * self.extent)
        if not c.use_staticness:
            scene.params["static"].data.fill_(20.0)
        return scene

    def phases(self) -> list[Phase]:
        """Return phases that end with a look at the masks, and a last one."""
        looks = self.config.looks if self.config.refine_masks else ()
        if any(not a < b for a, b in zip((0.0, *looks), (*looks, 1.0), strict=True)):
            raise UserError(
                f"--pipeline.model.looks must be parts of the training that rise between 0 and 1, not {looks}"
            )
        return [*(Phase(f"up to {look:g}", look) for look in looks), Phase("all", 1.0)]

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of the views."""
        groups: dict[str, list[nn.Parameter]] = {}
        if self.config.shadows:
            groups["shadows"] = [self.views.darkness]
        if self.config.refine_focal:
            groups["focal"] = [self.views.log_focal]
        return groups

    # Start

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Lift pixels of all training images by their depth; without depth take points that come with the
        video, and without those what stereo finds."""
        dataset = self._dataset = datamanager.train_dataset
        dataset.require_one_size("dyn3d-das3r")
        images = torch.stack([torch.from_numpy(dataset.get_numpy_image(i)) for i in range(len(dataset))])
        if images.shape[-1] != 3:
            raise UserError(
                f"{datamanager.get_datapath()} has images that are transparent in places, and dyn3d-das3r "
                "takes the frames of a video: put them on a background, or train dyn3d-velocity"
            )
        self.eval_background.copy_(images.float().mean((0, 1, 2)) / 255.0)
        there = scene_of(dataset.metadata).priors.names
        asked: tuple[Prior, ...] = ("motion", "depth") if self.config.use_masks else ("depth",)
        priors = Priors(dataset, [name for name in asked if name in there])
        maps = [priors.of(i) for i in range(len(dataset))]
        known = "motion" in priors.names
        self._motion = torch.stack([found["motion"][..., 0] for found in maps]) if known else None
        motion = torch.zeros(images.shape[:3]) if self._motion is None else self._motion
        static = 1 - widen(motion, self.margin(*images.shape[1:3]))
        tell_what_is_odd(dataset, static)
        cameras = dataset.cameras
        times = cameras.times
        assert times is not None
        self.views.start(static, cameras.camera_to_worlds, cameras.get_intrinsics_matrices(), times)
        depths = torch.stack([m["depth"][..., 0] for m in maps]) if "depth" in priors.names else None
        views = ViewSet(viewmats_of(cameras.camera_to_worlds).cpu(), self.views.Ks.cpu(), images)
        self._start_on(views, static, depths, datamanager)

    def _start_on(
        self,
        views: ViewSet,
        static: Float[Tensor, "V H W"],
        depths: Float[Tensor, "V H W"] | None,
        datamanager: DynamicDataManager,
    ) -> None:
        seeds = None
        if depths is not None and not self.config.random_init:
            seeds = depth_points(views, depths, static, self.config.max_gaussians, self._generator())
        if seeds is None:
            background = self.eval_background.clone()
            super().seed(datamanager)
            self.eval_background.copy_(background)
            positions = self.scene.params["means"].detach().cpu()
            colors = 0.5 + SH_C0 * self.scene.params["features_dc"].detach().cpu()
            found = staticness_of_points(positions, views, static, depths)
            seeds = SeedPoints(positions, colors, found)
        self.scene = self.make_scene(seeds)
        self.to(self.eval_background.device)

    def margin(self, height: int, width: int) -> int:
        """Return by how many pixels what moves is widened in images of a size."""
        return round(self.config.mask_margin * max(height, width))

    # Training

    def get_training_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a training camera over the images' mean, in the shade that its view lies in."""
        outputs = super().get_training_outputs(camera)
        outputs["view"] = self._index(camera)
        if self.config.shadows:
            behind = (1 - outputs["accumulation"]) * outputs["background"]
            height, width = outputs["render"].shape[:2]
            light = self.views.light(outputs["view"], height, width)
            outputs["render"] = (outputs["render"] + behind) * light - behind
        return outputs

    def image_weight(self, batch: dict[str, Any]) -> Float[Tensor, "H W 1"] | None:
        """Return how static each pixel is, and nothing for what surely moves.

        A small weight is not enough: where no view sees the ground, nothing pulls the other way, and Adam
        goes as far by small gradients as by large ones.
        """
        static = self.static_of(int(batch["image_idx"]))
        return static * (static > _COUNTS)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the image loss, the shadows' cost and that of the cameras."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.config.shadows:
            losses["shadows"] = self.config.shadow_weight * self.views.darkness_cost()
        if self.config.camera_optimizer.mode != "off":
            self._note_psnr(outputs, batch)
        return losses

    def after_step(self, step: int) -> None:
        """Densify, and let an open viewer draw the cameras as they are by now."""
        super().after_step(step)
        if step % _DRAW_EVERY == 0:
            self.frame_cameras.refresh()

    def leave_phase(self, phase: Phase) -> None:
        """Look at the masks again, but after the last phase."""
        super().leave_phase(phase)
        if phase is not self.schedule.phases[-1]:
            self.look_again()

    @torch.no_grad()
    def look_again(self) -> None:
        """Set how static each pixel of the training views is by what the scene leaves unexplained."""
        dataset, masks = self._dataset, self.config.masks
        assert dataset is not None
        errors, weights = [], []
        for i in range(len(dataset)):
            truth = torch.from_numpy(dataset.get_numpy_image(i)).to(self.device).float() / 255.0
            errors.append(residual(self.render_view(i), truth[..., :3], masks.window))
            weights.append(self.static_of(i)[..., 0])
        scale = robust_scale(torch.stack(errors), torch.stack(weights))
        margin = self.margin(*self.views.static.shape[1:])
        for i, error in enumerate(errors):
            prior = torch.full_like(error, _UNMASKED) if self._motion is None else self._motion[i].to(error)
            moves = second_look(prior, error, scale, masks)
            self.views.set_static(i, 1 - widen(moves, margin))
        if self.config.use_staticness:
            self._fade_what_never_rested()

    def _fade_what_never_rested(self) -> None:
        """Lower the staticness of Gaussians to the part of them that shows at rest.

        Those that hardly rest stand where a mover was that the masks missed at first; nothing is learned
        there any more, so nothing else would ever remove them.
        """
        share = self._contributions().share[:, None]
        static = torch.logit(share.clamp(0.01, 0.99))
        static = torch.where(share < _HARDLY_RESTS, torch.full_like(static, _FADED), static)
        kept = self.scene.params["static"].data
        self.scene.params["static"].data = torch.minimum(kept, static)

    def _contributions(self) -> Contributions:
        gaussians = self.gaussians_at(0.0)

        def render(view: int, channels: Tensor) -> Tensor:
            return self.rasterize_gaussians(gaussians, self.view_of(view), channels)[0][0]

        static = (self.static_of(i)[..., 0].detach() for i in range(len(self.views.times)))
        return contributions(render, static, len(gaussians), self.views.times.device)

    def evaluation_weight(self, batch: dict[str, Any]) -> Float[Tensor, "H W 1"] | None:
        """Return how static the pixels of an evaluation image are by its masks; None without such."""
        if "motion" not in batch:
            return None
        motion = batch["motion"].to(self.device)[None, ..., 0]
        return (1 - widen(motion, self.margin(*motion.shape[1:]))[0])[..., None]

    @torch.no_grad()
    def render_view(self, view: int) -> Float[Tensor, "H W 3"]:
        """Render the static scene through a training camera as it is by now, in the view's shade."""
        found = self.view_of(view)
        gaussians = self.gaussians_at(found.time)
        render, alpha, _ = self.rasterize_gaussians(
            gaussians, found, gaussians.colors, sh_degree=self.config.sh_degree
        )
        image = render[0] + (1 - alpha[0]) * self.eval_background
        if self.config.shadows:
            image = image * self.views.light(view, found.height, found.width)
        return image.clamp(0, 1)

    # What is shown

    def more_outputs(
        self, gaussians: Gaussians, view: TrainingView, ready: Mapping[str, Tensor]
    ) -> dict[str, Callable[[], Tensor]]:
        """Return makers of the staticness, the mask of the frame shown, and the frame's movers laid over."""

        def staticness() -> Tensor:
            solid = Gaussians(
                gaussians.means, gaussians.quats, gaussians.scales, self.scene.opacities, gaussians.colors
            )
            values = self.scene.staticness[:, None]
            render, alpha, _ = self.rasterize_gaussians(solid, view, values)
            return render[0] / alpha[0].clamp_min(1e-6)

        movers: list[tuple[Tensor, Tensor]] = []

        def laid_over() -> tuple[Tensor, Tensor]:
            if not movers:
                movers.append(self._movers_in(gaussians, view, ready["rgb"]))
            return movers[0]

        made: dict[str, Callable[[], Tensor]] = {
            "composite": lambda: laid_over()[0],
            "mask": lambda: laid_over()[1],
        }
        if self.crop_box is None:
            made["staticness"] = staticness
        return made

    def _movers_in(
        self, gaussians: Gaussians, view: TrainingView, rgb: Float[Tensor, "H W 3"]
    ) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 1"]]:
        """Return the view with what moves in the frame of its time, and where that is.

        Through the frame's own camera these are its pixels; from elsewhere they stand where their depth says.
        """
        around, part = self.views.neighbours(view.time)
        frame = int(around[round(part)])
        source = scene_of(self.kwargs["metadata"]).priors
        own = self.view_of(frame)
        if own.viewmats.allclose(view.viewmats, atol=_SAME_POSE):
            image = torch.from_numpy(resize_area(source.image(frame), own.width, own.height)).to(rgb) / 255.0
            both = looked_up(torch.cat([image, 1 - self.static_of(frame)], dim=-1), own, view)
            mask = both[..., 3:]
            return mask * both[..., :3] + (1 - mask) * rgb, mask
        movers = self._movers_of(frame)
        if movers is None:
            return rgb, torch.zeros_like(rgb[..., :1])
        joined = join(gaussians, movers)
        is_mover = torch.arange(len(joined), device=rgb.device) >= len(gaussians)
        render, alpha, _ = self.rasterize_gaussians(
            joined, view, joined.colors, sh_degree=self.config.sh_degree
        )
        share, _, _ = self.rasterize_gaussians(joined, view, is_mover.float()[:, None])
        shown = render[0] + (1 - alpha[0]) * self._get_background_color()
        return shown.clamp(0, 1), share[0].clamp(0, 1)

    def _movers_of(self, frame: int) -> Gaussians | None:
        if self._movers[0] != frame:
            source = scene_of(self.kwargs["metadata"]).priors
            found = None
            if "depth" in source.names:
                own = self.view_of(frame)
                size = (own.width, own.height)
                found = movers_of_frame(
                    torch.from_numpy(resize_area(source.image(frame), *size)).to(self.device),
                    self.static_of(frame)[..., 0] < 0.5,
                    torch.from_numpy(nearest_to(source.depth(frame), size)).to(self.device),
                    own.viewmats[0],
                    own.Ks[0],
                )
            self._movers = (frame, found)
        return self._movers[1]

    def train(self, mode: bool = True) -> Das3rModel:
        """Switch between training and evaluation; what was kept of the scene is out of date after either."""
        self._witnessed, self._movers = None, (-1, None)
        super().train(mode)
        return self

    # Evaluation

    def estimated_masks(self) -> Iterator[Bool[Tensor, "H W"]]:
        """Return where the training views move, without the margin around it."""
        margin = self.margin(*self.views.static.shape[1:])
        for view in range(len(self.views.times)):
            moves = 1 - self.static_of(view).detach()[None, ..., 0]
            yield -widen(-moves, margin)[0] > 0.5

    def score(
        self, camera: Cameras, batch: dict[str, Any], outputs: dict[str, Any]
    ) -> dict[str, float | RegionError]:
        """Return the paper's static PSNR, and errors against the clean plate where there is one."""
        shown = quantize(outputs["rgb"])
        mask, found = batch.get("dynamic_mask"), {}
        moves = None if mask is None else mask.to(shown.device)
        if moves is not None:
            truth = composite(batch["image"].to(shown.device), self.eval_background)
            found |= static_scores(shown, truth, moves)
        if "clean" in batch:
            clean = composite(batch["clean"].to(shown.device), self.eval_background)
            found |= clean_scores(shown, clean, moves, self.seen(camera)[..., None])
        return found

    @torch.no_grad()
    def seen(self, camera: Cameras) -> Bool[Tensor, "H W"]:
        """Return the pixels of a camera that show what at least two training views saw at rest."""
        if self._witnessed is None:
            self._witnessed = self._contributions().witnessed.float()[:, None]
        view = self.view_through(camera)
        share, _, _ = self.rasterize_gaussians(self.gaussians_at(view.time), view, self._witnessed)
        return share[0, ..., 0] > _SEEN_SHARE

    def figures(self, scores: Sequence[FrameScore]) -> dict[str, Any]:
        """Return the figures that DAS3R's tables have, over all evaluation images, and what they rest on."""
        source = scene_of(self.kwargs["metadata"]).priors
        return {
            **overall(scores),
            "mask_source": source.mask_source if self.config.use_masks else "none",
            "masks_refined": self.config.refine_masks and bool(self.config.looks),
            "camera_source": source.camera_source,
            "regions_by": source.truth_source if "dynamic_mask" in source.truths else source.mask_source,
            "eval_pose_refine_steps": self.config.eval_pose_refine_steps,
            "focal_factor": float(self.views.focal_factor.detach()),
        }
