"""The static scene behind what moves, from one video: masks, poses and Gaussians refined together.

DAS3R (Xu, Tan, Li, Qu and Bai, arXiv 2412.19584) gives every pixel of every frame a Gaussian whose staticness
is both a factor of its opacity and the weight of its pixel in the loss. Here the two roles are apart: a logit
per Gaussian, and a map per view that starts from the motion which the video's masks show and is looked at
again once the static scene explains the rest. The released behaviour is in `paper.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.lie_groups import exp_map_SE3, exp_map_SO3xR3
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.data.priors import Priors
from dyn3d_ns.engine.schedule import Phase
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.seeds.depth_maps import depth_points, staticness_of_points
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, ViewSet
from dyn3d_ns.gaussians.static import StaticnessScene, staticness_scene
from dyn3d_ns.geometry.cameras import field_of_view, project, unproject, viewmats_of
from dyn3d_ns.io.errors import DatasetError, UserError
from dyn3d_ns.io.footage.base import Prior
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.losses.photometric import composite, image_loss
from dyn3d_ns.metrics.evaluation import FrameScore, RegionError, pooled_region_psnr, region_errors
from dyn3d_ns.metrics.image import psnr_of_mse, quantize, ssim
from dyn3d_ns.models.das3r.coverage import Contributions, contributions
from dyn3d_ns.models.das3r.masks import MaskSettings, residual, robust_scale, second_look, widen
from dyn3d_ns.models.das3r.movers import join, movers_of_frame
from dyn3d_ns.models.das3r.views import TrainingViews
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig, TrainingView
from dyn3d_ns.viewer.frame_cameras import CameraPath, FrameCameras

_SEEN = "clean_seen"
_SAME_POSE = 1e-3
"""Difference of world-to-camera matrices below which a view is that of the frame's own camera."""
_SEEN_SHARE = 0.5
"""Part of what a pixel shows that must have been seen at rest."""
_HARDLY_RESTS = 0.25
"""Part of a Gaussian that must show at rest for it to stay."""
_FADED = -5.0
"""Logit of the staticness of what is taken out of the scene."""
_CORRECTED = "corrected"
"""Mark in the metadata of cameras that are as training has found them."""
_ROUNDING = 1e-6
"""Difference of poses that are the same."""
_LITTLE_RESTS = 0.1
"""Part of the pixels that must be static for a training without a warning."""
_STANDS_STILL = 1e-6
"""Distance in world units within which all cameras are at one place."""
_DRAW_EVERY = 100
"""Steps between two drawings of the cameras in the viewer."""


@dataclass
class Das3rModelConfig(GaussianModelConfig):
    """Settings of the static scene behind what moves."""

    _target: type = field(default_factory=lambda: Das3rModel)
    """Target class to instantiate."""
    densify: Literal["mcmc", "default", "none"] = "none"
    """Densification strategy of gsplat; none, since movers that a mask misses would be fitted with it."""
    ssim_weight: float = 0.2
    """Weight of structural dissimilarity beside the absolute error, 0..1."""
    camera_optimizer: CameraOptimizerConfig = field(
        default_factory=lambda: CameraOptimizerConfig(
            mode="SO3xR3", trans_l2_penalty=1e-4, rot_l2_penalty=1e-4
        )
    )
    """Refinement of the training cameras' poses along with the scene."""
    pose_psnr_gate: float = 18.0
    """PSNR over the static pixels of a view from which on its pose is refined, dB."""
    refine_focal: bool = True
    """Refine the focal length, one factor for all views."""
    use_masks: bool = True
    """Start from the motion that the video's masks show; without it everything counts as static at first."""
    use_staticness: bool = True
    """Let each Gaussian's staticness multiply its opacity."""
    mask_margin: float = 0.006
    """Part of the image's longer side by which what moves is widened."""
    refine_masks: bool = True
    """Look at the masks again, twice, once the static scene explains what rests."""
    looks: tuple[float, ...] = (0.3, 0.55)
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
    eval_pose_refine_steps: int = 0
    """Steps in which the pose of an evaluation image is refined on its static pixels before it is compared;
    the report states their number."""


class Das3rModel(GaussianModel):
    """Gaussians that rest, with what each training view needs to be compared with them."""

    config: Das3rModelConfig
    scene: StaticnessScene

    def populate_modules(self) -> None:
        """Build the scene, and room for what belongs to the views."""
        super().populate_modules()
        self.views = TrainingViews(self.num_train_data)
        self._dataset: DynamicDataset | None = None
        self._witnessed: Tensor | None = None
        self._movers: tuple[int, Gaussians | None] = (-1, None)
        self.frame_cameras = FrameCameras(self.camera_path)

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
        images = torch.stack([torch.from_numpy(dataset.get_numpy_image(i)) for i in range(len(dataset))])
        self.eval_background.copy_(images.float().mean((0, 1, 2)) / 255.0)
        there = scene_of(dataset.metadata).priors.names
        asked: tuple[Prior, ...] = ("motion", "depth") if self.config.use_masks else ("depth",)
        priors = Priors(dataset, [name for name in asked if name in there])
        maps = [priors.of(i) for i in range(len(dataset))]
        motion = torch.zeros(images.shape[:3])
        if "motion" in priors.names:
            motion = torch.stack([found["motion"][..., 0] for found in maps])
        static = 1 - widen(motion, self._margin(images.shape))
        self._tell_what_is_odd(dataset, static)
        cameras = dataset.cameras
        times = cameras.times
        assert times is not None
        self.views.start(static, cameras.camera_to_worlds, cameras.get_intrinsics_matrices(), times)
        depths = torch.stack([m["depth"][..., 0] for m in maps]) if "depth" in priors.names else None
        views = ViewSet(viewmats_of(cameras.camera_to_worlds).cpu(), self.views.Ks.cpu(), images)
        self._start_on(views, static, depths, datamanager)

    @staticmethod
    def _tell_what_is_odd(dataset: DynamicDataset, static: Float[Tensor, "V H W"]) -> None:
        """Say what the scene cannot be learned from, before training starts.

        Raises:
            DatasetError: the masks leave nothing.
        """
        rests = (static > 0.5).float().mean((1, 2))
        where = Path(dataset.image_filenames[0]).parent
        if float(rests.max()) == 0:
            raise DatasetError(
                f"the masks of {where} cover every pixel of every training frame, so nothing static is left "
                "to learn from; give other masks, or train with --pipeline.model.use-masks False"
            )
        empty = [Path(dataset.image_filenames[i]).name for i in (rests == 0).nonzero()[:, 0]]
        if empty:
            CONSOLE.print(
                f"[bold yellow]{len(empty)} of {len(rests)} training frames have no static pixel and teach "
                f"nothing: {', '.join(empty[:5])}{', …' if len(empty) > 5 else ''}"
            )
        elif float(rests.mean()) < _LITTLE_RESTS:
            CONSOLE.print(
                f"[bold yellow]Only {100 * float(rests.mean()):.1f} % of the pixels of {where} are static by "
                "their masks: expect holes, or train with --pipeline.model.use-masks False"
            )
        places = dataset.cameras.camera_to_worlds[:, :, 3]
        if float((places - places[0]).abs().max()) < _STANDS_STILL:
            CONSOLE.print(
                f"[bold yellow]The camera of {where} does not move: there is no parallax, so depth is a "
                "guess. What is behind what moves is learned all the same, as far as it is ever uncovered."
            )

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

    def _margin(self, shape: Sequence[int]) -> int:
        return round(self.config.mask_margin * max(shape[1:3]))

    # Training

    def _training_view(self, camera: Cameras) -> TrainingView:
        """Return the view with its pose and focal length as they are by now.

        A pose has no gradient until its view is explained well enough. Scaling the first two camera axes by
        a factor is the same as scaling the focal lengths, and has a gradient.
        """
        view = super()._training_view(camera)
        index, viewmats = self._index(camera), view.viewmats
        if viewmats.requires_grad and float(self.views.psnr[index]) < self.config.pose_psnr_gate:
            viewmats = viewmats.detach()
        if self.config.refine_focal:
            factor = self.views.focal_factor
            one = torch.ones_like(factor)
            viewmats = viewmats * torch.cat([factor, factor, one, one])[:, None]
        return view._replace(viewmats=viewmats)

    @staticmethod
    def _index(camera: Cameras) -> int:
        return int((camera.metadata or {})["cam_idx"])

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
        """Return how static each pixel is."""
        return self.static_of(int(batch["image_idx"]))

    def static_of(self, view: int) -> Float[Tensor, "H W 1"]:
        """Return how static each pixel of a training view is, its weight in the loss."""
        return self.views.weight(view)

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

    @torch.no_grad()
    def _note_psnr(self, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        shown = outputs["render"] + (1 - outputs["accumulation"]) * outputs["background"]
        truth = composite(batch["image"].to(shown.device), outputs["background"])
        weight = self.static_of(outputs["view"]).clamp(0, 1)
        if float(weight.sum()) >= 1:
            error = float(((shown - truth).square() * weight).sum() / (3 * weight.sum()))
            self.views.psnr[outputs["view"]] = psnr_of_mse(error)

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
        priors = Priors(
            dataset, [n for n in ("motion",) if self.config.use_masks and n in self._prior_names()]
        )
        errors, weights = [], []
        for i in range(len(dataset)):
            truth = torch.from_numpy(dataset.get_numpy_image(i)).to(self.device).float() / 255.0
            errors.append(residual(self.render_view(i), truth[..., :3], masks.window))
            weights.append(self.views.weight(i)[..., 0])
        scale = robust_scale(torch.stack(errors), torch.stack(weights))
        margin = self._margin(self.views.static.shape)
        for i, error in enumerate(errors):
            motion = priors.of(i).get("motion", torch.full((*error.shape, 1), 0.1))[..., 0]
            moves = second_look(motion.to(error), error, scale, masks)
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

    def _prior_names(self) -> frozenset[Prior]:
        return scene_of(self.kwargs["metadata"]).priors.names

    # The frames' cameras

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

    @torch.no_grad()
    def view_of(self, view: int) -> TrainingView:
        """Return a training camera with pose and focal length as they are by now."""
        height, width = self.views.static.shape[1:]
        poses = self._refined(torch.tensor([view]))
        return TrainingView(
            float(self.views.times[view]), viewmats_of(poses), self._refined_Ks(view), width, height
        )

    def _refined_Ks(self, view: int) -> Float[Tensor, "1 3 3"]:
        Ks = self.views.Ks[view : view + 1].clone()
        Ks[:, (0, 1), (0, 1)] *= self.views.focal_factor.detach()
        return Ks

    def _refined(self, views: Tensor) -> Float[Tensor, "V 3 4"]:
        """Return camera-to-world poses of training views, OpenGL axes."""
        poses = self.views.camera_to_worlds[views.to(self.views.times.device)]
        return self._corrected(poses, self._adjustment(views))

    def _adjustment(self, views: Tensor) -> Float[Tensor, "V 6"]:
        if self.config.camera_optimizer.mode == "off":
            return torch.zeros(len(views), 6, device=self.views.times.device)
        return self.camera_optimizer.pose_adjustment.detach()[views.to(self.views.times.device)]

    def _corrected(
        self, poses: Float[Tensor, "V 3 4"], adjustment: Float[Tensor, "V 6"]
    ) -> Float[Tensor, "V 3 4"]:
        """Apply adjustments as the camera optimiser does: both parts in world axes."""
        to_matrix = exp_map_SE3 if self.config.camera_optimizer.mode == "SE3" else exp_map_SO3xR3
        change = to_matrix(adjustment)
        position = poses[..., 3:] + change[..., 3:]
        return torch.cat([change[..., :3] @ poses[..., :3], position], dim=-1)

    def estimated_poses(self) -> Float[Tensor, "V 4 4"] | None:
        """Return the refined poses; None where they are not refined."""
        if self.config.camera_optimizer.mode == "off":
            return None
        poses = torch.eye(4).repeat(len(self.views.times), 1, 1)
        poses[:, :3] = self._refined(torch.arange(len(poses))).cpu()
        return poses

    @torch.no_grad()
    def estimated_camera(self, camera: Cameras, batch: dict[str, Any]) -> Cameras:
        """Correct the camera of a recorded image as those of the training images around it were.

        With ``eval_pose_refine_steps`` its pose is then fitted to the static pixels of the image.
        """
        camera = self.corrected_camera(camera)
        if self.config.eval_pose_refine_steps and "image" in batch:
            camera.camera_to_worlds = self._fit_pose(camera, batch)
        return camera

    @torch.no_grad()
    def corrected_camera(self, camera: Cameras) -> Cameras:
        """Correct the camera of any frame of the video by what training found before and after its time."""
        around, part = self.views.neighbours(self.time_of(camera))
        both = self._adjustment(around)
        return self._with_adjustment(camera, (1 - part) * both[:1] + part * both[1:])

    def _with_adjustment(self, camera: Cameras, adjustment: Float[Tensor, "1 6"]) -> Cameras:
        """Return a camera with its pose adjusted and the focal length as training found it."""
        poses = self._corrected(camera.camera_to_worlds.reshape(1, 3, 4), adjustment)
        factor = float(self.views.focal_factor.detach()) if self.config.refine_focal else 1.0
        return Cameras(
            camera_to_worlds=poses.reshape(camera.camera_to_worlds.shape),
            fx=camera.fx * factor,
            fy=camera.fy * factor,
            cx=camera.cx,
            cy=camera.cy,
            width=camera.width,
            height=camera.height,
            camera_type=camera.camera_type,
            times=camera.times,
            metadata={**(camera.metadata or {}), _CORRECTED: True},
        )

    def _fit_pose(self, camera: Cameras, batch: dict[str, Any]) -> Float[Tensor, "1 3 4"]:
        """Fit a pose to the static pixels of its image, with the scene as it is."""
        view = TrainingView(
            self.time_of(camera),
            viewmats_of(camera.camera_to_worlds),
            camera.get_intrinsics_matrices().to(self.device),
            int(camera.width.item()),
            int(camera.height.item()),
        )
        image, gaussians = batch["image"].to(self.device), self.gaussians_at(view.time)
        weight = None
        if "motion" in batch:
            moves = widen(batch["motion"].to(self.device)[None, ..., 0], self._margin((0, *image.shape[:2])))
            weight = (1 - moves[0])[..., None]
        poses = camera.camera_to_worlds.reshape(1, 3, 4)
        with torch.enable_grad():
            adjustment = torch.zeros(1, 6, device=self.device, requires_grad=True)
            steps = self.config.eval_pose_refine_steps
            optimizer = torch.optim.Adam([adjustment], lr=1e-3)
            decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for _ in range(steps):
                moved = view._replace(viewmats=viewmats_of(self._corrected(poses, adjustment)))
                render, alpha, _ = self.rasterize_gaussians(
                    gaussians, moved, gaussians.colors, sh_degree=self.config.sh_degree
                )
                loss = image_loss(render[0], alpha[0], image, self.eval_background, weight=weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
        return self._corrected(poses, adjustment.detach()).reshape(camera.camera_to_worlds.shape)

    # What is shown

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a camera; one that a training image came with is taken as it is by now."""
        if not self.training and not (camera.metadata or {}).get(_CORRECTED, False):
            view = self._given_view(camera)
            if view is not None:
                camera = self._with_adjustment(camera, self._adjustment(torch.tensor([view])))
        return super().get_outputs(camera)

    def _given_view(self, camera: Cameras) -> int | None:
        """Return the training view that came with a camera's pose, the nearest in time where several did."""
        poses = self.views.camera_to_worlds
        same = (poses - camera.camera_to_worlds.reshape(1, 3, 4)).abs().amax((1, 2)) < _ROUNDING
        if not bool(same.any()):
            return None
        away = (self.views.times - self.time_of(camera)).abs()
        return int(torch.where(same, away, torch.inf).argmin())

    def camera_path(self) -> CameraPath | None:
        """Return the cameras of the training views for the viewer, None before there are any."""
        height = self.views.static.shape[1]
        if height == 0:
            return None
        refined = self._refined(torch.arange(len(self.views.times)))
        focal = float(self._refined_Ks(0)[0, 1, 1])
        return CameraPath(
            self.views.times.double().cpu().numpy(),
            self.views.camera_to_worlds.double().cpu().numpy(),
            refined.double().cpu().numpy(),
            field_of_view(focal, height),
        )

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
            image = _resized(torch.from_numpy(source.image(frame)).to(rgb) / 255.0, own.height, own.width)
            both = _looked_up(torch.cat([image, 1 - self.views.weight(frame)], dim=-1), own, view)
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
                size = (own.height, own.width)
                image = _resized(torch.from_numpy(source.image(frame)).float(), *size)
                depth = torch.from_numpy(np.ascontiguousarray(source.depth(frame)))[..., None]
                depth = torch.nn.functional.interpolate(depth.permute(2, 0, 1)[None], size=size)[0, 0]
                found = movers_of_frame(
                    image.round().to(torch.uint8).to(self.device),
                    self.views.static[frame] < 128,
                    depth.to(self.device),
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
        margin = self._margin(self.views.static.shape)
        for static in self.views.static:
            yield -widen(-(1 - static.float()[None] / 255.0), margin)[0] > 0.5

    def score(
        self, camera: Cameras, batch: dict[str, Any], outputs: dict[str, Any]
    ) -> dict[str, float | RegionError]:
        """Return the paper's static PSNR, and errors against the clean plate where there is one."""
        shown = quantize(outputs["rgb"])
        found: dict[str, float | RegionError] = {}
        mask = batch.get("dynamic_mask")
        if mask is not None and not bool(mask.all()):
            rests = ~mask.to(shown.device)
            truth = composite(batch["image"].to(shown.device), self.eval_background)
            errors = ((shown - truth) * rests).double().square().mean((0, 1))
            found["static_psnr_das3r"] = sum(psnr_of_mse(float(e)) for e in errors) / 3
            found["static_ssim"] = ssim(shown, torch.where(rests, truth, shown))
        if "clean" in batch:
            clean = batch["clean"].to(shown.device).float() / 255.0
            nothing = torch.zeros_like(shown[..., :1], dtype=torch.bool)
            found["clean"] = region_errors(shown, clean, nothing)["static"]
            split = region_errors(shown, clean, mask)
            if "dynamic" in split:
                found["clean_movers"] = split["dynamic"]
            seen = region_errors(shown, clean, ~self.seen(camera)[..., None])
            if "static" in seen:
                found[_SEEN] = seen["static"]
        return found

    @torch.no_grad()
    def seen(self, camera: Cameras) -> Bool[Tensor, "H W"]:
        """Return the pixels of a camera that show what at least two training views saw at rest."""
        if self._witnessed is None:
            self._witnessed = self._contributions().witnessed.float()[:, None]
        view = TrainingView(
            self.time_of(camera),
            viewmats_of(camera.camera_to_worlds.reshape(1, 3, 4)),
            camera.get_intrinsics_matrices().to(self.device).reshape(1, 3, 3),
            int(camera.width.item()),
            int(camera.height.item()),
        )
        share, _, _ = self.rasterize_gaussians(self.gaussians_at(view.time), view, self._witnessed)
        return share[0, ..., 0] > _SEEN_SHARE

    def figures(self, scores: Sequence[FrameScore]) -> dict[str, Any]:
        """Return the figures that DAS3R's tables have, over all evaluation images, and what they rest on."""
        source = scene_of(self.kwargs["metadata"]).priors
        paper = [s.extra["static_psnr_das3r"] for s in scores if "static_psnr_das3r" in s.extra]
        structure = [s.extra["static_ssim"] for s in scores if "static_ssim" in s.extra]
        return {
            "static_psnr": pooled_region_psnr(scores, "static"),
            "static_psnr_das3r": sum(paper) / len(paper) if paper else None,
            "static_ssim": sum(structure) / len(structure) if structure else None,
            "clean_psnr": pooled_region_psnr(scores, "clean"),
            "clean_psnr_movers": pooled_region_psnr(scores, "clean_movers"),
            "clean_psnr_seen": pooled_region_psnr(scores, _SEEN),
            "mask_source": source.mask_source if self.config.use_masks else "none",
            "masks_refined": self.config.refine_masks and bool(self.config.looks),
            "camera_source": source.camera_source,
            "regions_by": source.truth_source if "dynamic_mask" in source.truths else source.mask_source,
            "eval_pose_refine_steps": self.config.eval_pose_refine_steps,
            "focal_factor": float(self.views.focal_factor.detach()),
        }


def _looked_up(
    image: Float[Tensor, "H W C"], own: TrainingView, view: TrainingView
) -> Float[Tensor, "H2 W2 C"]:
    """Show an image in a view of the same pose with other intrinsics; zero outside of the image."""
    rows, columns = torch.meshgrid(torch.arange(view.height), torch.arange(view.width), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(image) + 0.5
    rays = unproject(pixels, torch.ones_like(pixels[:, 0]), view.Ks[0])
    size = pixels.new_tensor([own.width, own.height])
    places = (2 * project(rays, own.Ks[0]) / size - 1).reshape(1, view.height, view.width, 2)
    planes = image.permute(2, 0, 1)[None]
    found = torch.nn.functional.grid_sample(planes, places, mode="bilinear", align_corners=False)
    return found[0].permute(1, 2, 0)


def _resized(image: Float[Tensor, "H W C"], height: int, width: int) -> Float[Tensor, "H2 W2 C"]:
    if image.shape[:2] == (height, width):
        return image
    planes = image.permute(2, 0, 1)[None]
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    mode = "area" if shrinks else "bilinear"
    align = None if shrinks else False
    resized = torch.nn.functional.interpolate(planes, size=(height, width), mode=mode, align_corners=align)
    return resized[0].permute(1, 2, 0)
