"""``dyn3d-das3r-paper``: the released code of DAS3R as it behaves, to compare with.

Every pixel of every training frame whose depth is trusted becomes a Gaussian of opacity 1 / N; nothing is
added or removed. One number a pixel, without bounds and without a regulariser, is both the Gaussian's
staticness, a factor of its opacity, and the pixel's weight in the loss, which it may lower by shrinking.
Colours that depend on the direction are evaluated in the axes of the camera, so that they turn with it. Poses
are refined where a view's static PSNR exceeds 26 dB; focal lengths, masks and test poses are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from torch import Tensor
from torch.nn.functional import normalize

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.scene import point_parameters
from dyn3d_ns.gaussians.seeds.depth_maps import all_points
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, ViewSet
from dyn3d_ns.gaussians.static import StaticnessScene
from dyn3d_ns.geometry.cameras import to_camera
from dyn3d_ns.geometry.harmonics import harmonic_basis
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.losses.ssim import ssim
from dyn3d_ns.models.das3r.model import Das3rModel, Das3rModelConfig
from dyn3d_ns.models.gaussian_model import TrainingView

_DEGREE_STEPS = 3000
"""Steps after which colours get another degree of dependence on the direction."""


@dataclass
class Das3rPaperModelConfig(Das3rModelConfig):
    """Settings of the released code."""

    _target: type = field(default_factory=lambda: Das3rPaperModel)
    """Target class to instantiate."""
    sh_degree: int = 3
    """Degree of the view-dependent colour, 0 to 3; one more every 3,000 steps."""
    camera_near: float = 0.001
    """Near plane in world units."""
    camera_optimizer: CameraOptimizerConfig = field(
        default_factory=lambda: CameraOptimizerConfig(mode="SO3xR3", trans_l2_penalty=0, rot_l2_penalty=0)
    )
    """Refinement of the training cameras' poses along with the scene."""
    pose_psnr_gate: float = 26.0
    """PSNR over the static pixels of a view from which on its pose is refined, dB."""
    refine_focal: bool = False
    """Refine the focal length, one factor for all views."""
    mask_margin: float = 0.0
    """Part of the image's longer side by which what moves is widened."""
    refine_masks: bool = False
    """Look at the masks again once the static scene explains what rests."""
    shadows: bool = False
    """Let each training view be darkened by a coarse map of its own."""


class PaperScene(StaticnessScene):
    """Gaussians whose opacity has an unbounded factor; the product is kept within 0 and 1."""

    def at(self, t: float) -> Gaussians:
        """Return the static scene, the same at every time."""
        opacities = (self.opacities * self.params["static"].squeeze(1)).clamp(0, 1)
        return Gaussians(self.params["means"], self.params["quats"], self.scales, opacities, self.colors)

    @property
    def staticness(self) -> Float[Tensor, "N"]:
        """How static each Gaussian is; it may leave 0..1."""
        return self.params["static"].squeeze(1)


class Das3rPaperModel(Das3rModel):
    """A Gaussian a pixel, whose staticness weighs the loss as well."""

    config: Das3rPaperModelConfig
    birth: Tensor
    """Gaussian of each pixel of the training views, -1 where there is none; int32 [V, H, W]."""

    def populate_modules(self) -> None:
        """Build a scene, which the training images will replace.

        Raises:
            UserError: an option asks for what the released code does not do.
        """
        c = self.config
        asked = [name for name in ("refine_masks", "refine_focal", "shadows") if getattr(c, name)]
        asked += ["densify"] * (c.densify != "none") + ["use_staticness"] * (not c.use_staticness)
        if asked:
            options = ", ".join(f"--pipeline.model.{name.replace('_', '-')}" for name in asked)
            raise UserError(f"dyn3d-das3r-paper does as the released code; {options}: take dyn3d-das3r")
        super().populate_modules()
        self.register_buffer("birth", torch.zeros(self.num_train_data, 0, 0, dtype=torch.int32))

    def make_scene(self, seeds: SeedPoints) -> PaperScene:
        """Put round Gaussians on the points, of opacity 1 / N for N training frames."""
        opacity = 1.0 / max(self.num_train_data, 2)
        parameters = point_parameters(seeds, self.config.sh_degree, opacity, max_scale=self.extent)
        static = torch.ones(len(seeds.positions)) if seeds.static is None else seeds.static
        parameters["static"] = static[:, None].clone()
        return PaperScene(parameters)

    def _start_on(
        self,
        views: ViewSet,
        static: Float[Tensor, "V H W"],
        depths: Float[Tensor, "V H W"] | None,
        datamanager: DynamicDataManager,
    ) -> None:
        """Make every pixel with a depth a Gaussian.

        Raises:
            UserError: there is no depth.
        """
        if depths is None or not (depths > 0).any():
            raise UserError(
                f"dyn3d-das3r-paper starts from depth maps, but {datamanager.get_datapath()} has none; make "
                "them with `dyn3d process`, or take dyn3d-das3r, which does without"
            )
        seeds, birth = all_points(views, depths, static)
        self.scene = self.make_scene(seeds)
        self.birth = birth.to(torch.int32)
        self.to(self.eval_background.device)

    def static_of(self, view: int) -> Float[Tensor, "H W 1"]:
        """Return the weights of a view's pixels, those of the Gaussians that were born there."""
        born = self.birth[view].long()
        static = self.scene.params["static"][born.clamp_min(0), 0]
        return torch.where(born >= 0, static, self.views.weight(view)[..., 0])[..., None]

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the paper's loss: both images times the weights, on black."""
        render, weight = outputs["render"], self.static_of(outputs["view"])
        if "mask" in batch:
            weight = weight * batch["mask"].to(weight)
        black = torch.zeros(3, device=render.device)
        truth = weight * composite(batch["image"].to(render.device), black)
        shown, share = weight * render, self.config.ssim_weight
        loss = (1 - share) * (shown - truth).abs().mean() + share * (1 - ssim(shown, truth))
        self._note_psnr({**outputs, "background": black}, batch)
        return {"image": loss}

    def rasterize_gaussians(
        self, gaussians: Gaussians, view: TrainingView, colors: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Rasterise, with view-dependent colours looked up in the axes of the camera."""
        degree = options.pop("sh_degree", None)
        if degree is not None:
            degree = min(degree, self.step // _DEGREE_STEPS)
            directions = normalize(to_camera(gaussians.means, view.viewmats[0]), dim=-1)
            colors = _colors(colors, directions, degree)
        return super().rasterize_gaussians(gaussians, view, colors, **options)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        birth = state_dict.get(prefix + "birth")
        if birth is not None:
            self.birth = torch.zeros_like(birth, device=self.birth.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _colors(
    coefficients: Float[Tensor, "N K 3"], directions: Float[Tensor, "N 3"], degree: int
) -> Float[Tensor, "N 3"]:
    """Evaluate spherical harmonics up to a degree, as 3DGS does: plus one half, at least 0."""
    total = SH_C0 * coefficients[:, 0]
    for d in range(1, degree + 1):
        basis = harmonic_basis(directions, d)
        total = total + (basis[..., None] * coefficients[:, d * d : (d + 1) ** 2]).sum(1)
    return (total + 0.5).clamp_min(0)
