"""A Gaussian model of one video whose training cameras are refined along with the scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.lie_groups import exp_map_SE3, exp_map_SO3xR3
from torch import Tensor

from dyn3d_ns.geometry.cameras import field_of_view, viewmats_of
from dyn3d_ns.losses.photometric import composite, image_loss
from dyn3d_ns.metrics.image import psnr_of_mse
from dyn3d_ns.models.das3r.views import TrainingViews
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig, TrainingView
from dyn3d_ns.viewer.frame_cameras import CameraPath, FrameCameras

_CORRECTED = "corrected"
"""Mark in the metadata of cameras that are as training has found them."""
_ROUNDING = 1e-6
"""Difference of poses that are the same."""


@dataclass
class RefinedCamerasConfig(GaussianModelConfig):
    """Settings of the refinement."""

    _target: type = field(default_factory=lambda: RefinedCamerasModel)
    """Target class to instantiate."""
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
    eval_pose_refine_steps: int = 0
    """Steps in which the pose of an evaluation image is refined on its static pixels before it is compared;
    the report states their number."""


class RefinedCamerasModel(GaussianModel):
    """Poses and one factor of the focal length, refined through the rasteriser."""

    config: RefinedCamerasConfig

    def populate_modules(self) -> None:
        """Build the scene, and room for what belongs to the views."""
        super().populate_modules()
        self.views = TrainingViews(self.num_train_data)
        self.frame_cameras = FrameCameras(self.camera_path)

    def static_of(self, view: int) -> Float[Tensor, "H W 1"]:
        """Return how static each pixel of a training view is, its weight in the loss."""
        return self.views.weight(view)

    def evaluation_weight(self, batch: dict[str, Any]) -> Float[Tensor, "H W 1"] | None:
        """Return how much each pixel of an evaluation image counts as its pose is fitted; None for alike."""
        return None

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

    @torch.no_grad()
    def _note_psnr(self, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        shown = outputs["render"] + (1 - outputs["accumulation"]) * outputs["background"]
        truth = composite(batch["image"].to(shown.device), outputs["background"])
        weight = self.static_of(outputs["view"]).clamp(0, 1)
        if float(weight.sum()) >= 1:
            error = float(((shown - truth).square() * weight).sum() / (3 * weight.sum()))
            self.views.psnr[outputs["view"]] = psnr_of_mse(error)

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
        view = self.view_through(camera)
        image, gaussians = batch["image"].to(self.device), self.gaussians_at(view.time)
        weight = self.evaluation_weight(batch)
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
