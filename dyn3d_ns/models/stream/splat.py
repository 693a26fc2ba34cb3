"""``dyn3d-stream-splat``: Gaussians streamed frame by frame, in deltas that a decoder replays bit for bit.

Frame 0 is trained as a scene that rests. Each later frame finds what has changed in the images, carries what
moves by a coarse-to-fine motion grid (HiCoM, arXiv 2411.07541), fits gated residuals of place, turn, colour,
opacity and scale (QUEEN, arXiv 2412.04469) and rounds them; the next frame starts from what was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from dyn3d_ns.engine.schedule import Stage
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.lattice import (
    ATTRIBUTES,
    KIND,
    GaussianDecoder,
    Lattice,
    LatticeGaussians,
    Planes,
    decoder_of,
)
from dyn3d_ns.gaussians.scene import point_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.gaussians.streamed import StreamedScene
from dyn3d_ns.geometry.cameras import pixel_sizes, project, to_camera, viewmats_of
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.look import BACKGROUND, CAMERA, world_entry
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig
from dyn3d_ns.models.stream.encoder import EncoderConfig, StreamEncoder
from dyn3d_ns.models.stream.method import Images, StreamMethod, StreamMethodConfig
from dyn3d_ns.models.stream.views import Rig

MOTION, RESIDUALS = "motion", "residuals"
"""Stages of a frame."""
GROUPS = {MOTION: ("grid",), RESIDUALS: ("shift", "turn", *(f"{name}_now" for name in ATTRIBUTES))}
"""Parameter groups of each."""


@dataclass
class StreamSplatModelConfig(StreamMethodConfig, GaussianModelConfig):
    """Settings of streamed Gaussians."""

    _target: type = field(default_factory=lambda: StreamSplatModel)
    """Target class to instantiate."""
    motion_steps: int = 20
    """Steps of a frame that fit the motion grid."""
    residual_steps: int = 45
    """Steps of a frame that fit residuals."""
    cell_sizes: tuple[float, ...] = (50.0, 25.0, 12.5)
    """Sides of the motion grid's cells, coarse to fine, footprints (the size of a pixel in the scene)."""
    mean_noise: float = 0.0
    """Noise on the means in each step of frame 0, footprints (HiCoM: 0.01 of its scenes' units)."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """What a frame may change, and at what cost."""


class StreamSplatModel(StreamMethod, GaussianModel):
    """Gaussians that a stream holds, as a Nerfstudio model."""

    config: StreamSplatModelConfig
    scene: StreamedScene
    encoder: StreamEncoder | None = None

    def choose_canonical_index(self) -> int:
        """Start at frame 0."""
        return 0

    def make_scene(self, seeds: SeedPoints) -> StreamedScene:
        """Put round Gaussians on the seed points."""
        size = 0.03 * self.extent
        parameters = point_parameters(seeds, self.config.sh_degree, opacity=0.3, max_scale=size)
        return StreamedScene(parameters, self.timeline)

    def populate_modules(self) -> None:
        """Build the scene, and parameters that stand in for those of a frame."""
        super().populate_modules()
        names = [name for stage in GROUPS.values() for name in stage]
        # Not modules' parameters: what a frame trains is no part of a checkpoint.
        self._of_frame = {name: nn.Parameter(torch.zeros(0, 1)) for name in names}

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the groups that each frame fills anew."""
        return {name: [parameter] for name, parameter in self._of_frame.items()}

    # -- frame 0 ------------------------------------------------------------------------------------

    def first_stage(self) -> Stage:
        """Return the training of a scene at rest."""
        return Stage("", self.config.stream.first_steps, frozenset(self.scene.params))

    def later_stages(self) -> Sequence[Stage]:
        """Return motion and residuals."""
        steps = {MOTION: self.config.motion_steps, RESIDUALS: self.config.residual_steps}
        return [Stage(name, steps[name], frozenset(GROUPS[name])) for name in GROUPS]

    @property
    def densify_steps(self) -> int:
        """Steps of frame 0; later frames replace Gaussians on their own."""
        return self.config.stream.first_steps

    def training_gaussians(self, t: float) -> Gaussians:
        """Return frame 0 with gradients, shaken where that is asked for."""
        gaussians = super().training_gaussians(t)
        if not self.config.mean_noise:
            return gaussians
        noise = self.config.mean_noise * self._footprint * torch.randn_like(gaussians.means)
        return Gaussians(
            gaussians.means + noise, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors
        )

    def seed(self, datamanager: Any) -> None:
        """Start on surfaces of frame 0, and measure what a pixel is there."""
        super().seed(datamanager)
        cameras, images = datamanager.images_at(0)
        self.rig = Rig(
            viewmats_of(cameras.camera_to_worlds),
            cameras.get_intrinsics_matrices().to(self.device),
            images.shape[2],
            images.shape[1],
            self.config.camera_near,
        )
        self._footprint = footprint(self.scene.params["means"].detach(), self.rig)

    @torch.no_grad()
    def end_first_frame(self, images: Images) -> tuple[StreamHeader, Planes]:
        """Round frame 0 to the lattice."""
        bits = math.ceil(math.log2(8.0 / self._footprint))
        cells = tuple(max(round(math.ldexp(c * self._footprint, bits)), 1) for c in self.config.cell_sizes)
        lattice = Lattice(means=bits, cells=cells)
        values = {name: value.detach().cpu().numpy() for name, value in self.scene.params.items()}
        values["quats"] = values["quats"] / np.linalg.norm(values["quats"], axis=1, keepdims=True)
        still = {"moving": np.zeros(len(self.scene), bool)}
        still |= {name: np.zeros((0, 3), np.int32) for name in ("shift", "turn")}
        decoder = GaussianDecoder(lattice)
        planes = {name: lattice.to_int(name, value) for name, value in values.items()} | still
        self._start_encoder(decoder, decoder.start(planes), images)
        times = self.timeline.frame_times
        background = " ".join(repr(c) for c in self.eval_background.tolist())
        header = lattice.to_header() | {BACKGROUND: background, CAMERA: self.rig.start_camera().to_text()}
        header |= world_entry(self.world)
        return StreamHeader(KIND, self.timeline.fps, times, header), planes

    def _start_encoder(self, decoder: GaussianDecoder, initial: LatticeGaussians, images: Images) -> None:
        self._initial = initial
        self.encoder = StreamEncoder(
            decoder,
            initial,
            images,
            self.rig,
            self.eval_background,
            self.config.sh_degree,
            self._footprint,
            self.config.encoder,
        )

    # -- later frames -------------------------------------------------------------------------------

    def begin_frame(self, images: Images | None) -> dict[str, int]:
        """Find what has changed."""
        assert self.encoder is not None
        views = self.encoder.begin(images)
        fit = self.encoder.fit
        assert fit is not None
        return {"views": views, "moving": len(fit.rows), "changed": len(fit.changed_rows)}

    def enter_stage(self, stage: str) -> None:
        """Hand the stage's parameters to the optimizers."""
        assert self.encoder is not None
        fit = self.encoder.fit
        assert fit is not None
        if stage == RESIDUALS:
            self.encoder.settle()
        parameters = {
            "grid": fit.grid,
            "shift": fit.shift,
            "turn": fit.turn,
            "scales_now": fit.scales,
            "opacities_now": fit.opacities,
            "features_dc_now": fit.features_dc,
        }
        for name in GROUPS[stage]:
            self.optimizers[name].param_groups[0]["params"] = [parameters[name]]
            self.optimizers[name].state.clear()

    def next_image(self) -> int | None:
        """Return the camera of the next view in which something changes."""
        assert self.encoder is not None
        return self.encoder.next_view()

    def get_training_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render frame 0 whole; of a later one what changes is rendered where its loss is computed."""
        if self.encoder is None:
            return super().get_training_outputs(camera)
        return {}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of the view that :meth:`next_image` has named."""
        if self.encoder is None:
            return super().get_loss_dict(outputs, batch, metrics_dict)
        return self.encoder.loss()

    def end_frame(self) -> Planes:
        """Round the frame's changes, and go on from what a decoder makes of them."""
        assert self.encoder is not None
        return self.encoder.end()

    def key_planes(self) -> Planes:
        """Return how the frame differs from frame 0."""
        assert self.encoder is not None
        return self.encoder.decoder.to_key(self._initial, self.encoder.state)

    def memory(self) -> dict[str, Any]:
        """Return what the detector of changes remembers, and the colour behind the scene."""
        assert self.encoder is not None
        return {name: value.cpu().numpy() for name, value in self.encoder.memory().items()}

    def recall(
        self, player: StreamPlayer[LatticeGaussians], frame: int, memory: Mapping[str, np.ndarray]
    ) -> None:
        """Go on after a frame."""
        decoder = decoder_of(player.reader.header)
        self._start_encoder(decoder, player.seek(0), self.images_at(0))
        assert self.encoder is not None
        found = {name: torch.from_numpy(value).to(self.device) for name, value in memory.items()}
        self.encoder.recall(player.seek(frame), frame, found, self.images_at)

    # -- what is shown ------------------------------------------------------------------------------

    def time_of(self, camera: Cameras) -> float:
        """Return the camera's time, and say so once if its frame is not there."""
        time = super().time_of(camera)
        self._tell_of_gaps(time)
        return time

    def show(self, player: StreamPlayer[LatticeGaussians]) -> None:
        """Show the stream's frames."""
        self.scene.play(player, decoder_of(player.reader.header).lattice)


def footprint(means: Float[Tensor, "N 3"], rig: Rig) -> float:
    """Return the size of a pixel where the scene is, world units: the median over what the cameras see."""
    sizes = []
    for viewmat, K in zip(rig.viewmats, rig.Ks, strict=True):
        points = to_camera(means, viewmat)
        pixels = project(points, K, rig.near)
        inside = (points[:, 2] > rig.near) & (pixels >= 0).all(1)
        inside &= (pixels[:, 0] < rig.width) & (pixels[:, 1] < rig.height)
        sizes.append(pixel_sizes(points[inside, 2], K))
    found = torch.cat(sizes)
    return float(found.median()) if len(found) else 1e-2
