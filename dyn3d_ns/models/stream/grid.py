"""``dyn3d-streamrf``: sparse voxels streamed frame by frame, StreamRF (arXiv 2210.14831) on Plenoxels.

Frame 0 is trained from coarse to fine. Each later frame is fitted at half the resolution first, which says
what changes, then there in full; only voxels that change enough are stored, and the next frame starts from
these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from dyn3d_ns.engine.schedule import Stage
from dyn3d_ns.fields.voxel_grid import (
    VoxelGrid,
    mask_of,
    places_in_cube,
    points_of,
    refined,
    solid_around,
)
from dyn3d_ns.fields.voxel_stream import VoxelDecoder, VoxelLattice, VoxelState, decoder_of
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.geometry.ndc import GridSpace
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.io.stream.decoders import Planes
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.look import BACKGROUND
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.models.faces import is_pinhole, through_faces
from dyn3d_ns.models.stream.grid_fit import (
    PassConfig,
    Values,
    VoxelFit,
    begin_full,
    begin_pilot,
    changed_pixels,
    end_pass,
    masks_between,
    state_of,
    values_of,
)
from dyn3d_ns.models.stream.grid_space import (
    Pixels,
    SpaceKind,
    change_shares,
    seen_points,
    space_of,
)
from dyn3d_ns.models.stream.grid_start import grid_around, hide_the_unseen, surfaces_of
from dyn3d_ns.models.stream.grid_views import StreamedVoxels, render_image
from dyn3d_ns.models.stream.method import Images, StreamMethod, StreamMethodConfig
from dyn3d_ns.models.stream.views import Rig
from dyn3d_ns.rendering.voxels import Steps, TotalVariation, Voxels, render_rays

PILOT, FULL = "pilot", "full"
"""Stages of a frame."""
GROUPS = {PILOT: ("pilot_density", "pilot_sh"), FULL: ("full_density", "full_sh")}
"""Parameter groups of each."""


@dataclass
class StreamRFModelConfig(StreamMethodConfig):
    """Settings of streamed voxels; those of the paper have its code's names."""

    _target: type = field(default_factory=lambda: StreamRFModel)
    """Target class to instantiate."""
    eval_num_rays_per_chunk: int = 16384
    """Rays rendered at once in evaluation."""
    space: SpaceKind = "auto"
    """NDC for cameras that look the same way, a plain box for others."""
    reso: tuple[tuple[int, int, int], ...] = ((128, 128, 128), (256, 256, 128), (512, 512, 128))
    """Grid points along x, y and z of frame 0, coarse to fine."""
    upsamp_parts: tuple[float, ...] = (0.3, 0.6)
    """Parts of frame 0's steps after which the grid is refined."""
    init_sigma: float = 0.1
    """Density of all voxels at the start."""
    surface_points: int = 0
    """Points on surfaces, found by stereo, around which frame 0 starts; 0 starts everywhere, as published."""
    surface_sigma: float = 20.0
    """Density at these points."""
    batch_size: int = 20_000
    """Rays of a step of frame 0."""
    lambda_tv: float = 5e-4
    """Weight of the density's total variation in frame 0."""
    lambda_tv_sh: float = 5e-3
    """Weight of the colours' total variation in frame 0."""
    tv_sparsity: float = 0.01
    """Part of the voxels whose total variation is taken in a step."""
    sigma_thresh: float = 5.0
    """Density from which on a voxel is solid."""
    weight_thresh: float = 0.02
    """Least part of a voxel in some training ray with which it counts as solid when the grid of frame 0 is
    refined; 0 goes by density alone, as published."""
    step_size: float = 0.5
    """Voxels between two samples of a ray."""
    stop_thres: float = 0.01
    """Part of the light left at which a ray ends."""
    apply_narrow_band: bool = True
    """Whether only voxels near surfaces may change."""
    erosions: int = 6
    """How deep inside what is there voxels may change, with a narrow band."""
    compress_saving: bool = True
    """Whether small changes of a frame are undone before the next starts."""
    density_keep_thres: float = 0.0
    """Change of density that is kept as well, over sigma_thresh; 0 goes by colours alone, as published."""
    changed_share: float = 0.5
    """Part of a later frame's rays that are drawn where the images have changed; 0 as published."""
    change_votes: float = 0.5
    """Part of the views in which a voxel must lie in changed pixels for it to change; 0 as published."""
    pilot: PassConfig = field(
        default_factory=lambda: PassConfig(
            n_iters=750,
            lambda_tv=5e-3,
            lambda_tv_sh=5e-2,
            sh_keep_thres=0.2,
            sh_prune_thres=0.04,
            dilate_rate_before=1,
            dilate_rate_after=1,
        )
    )
    """Pass at half the resolution."""
    full: PassConfig = field(default_factory=PassConfig)
    """Pass at the full resolution."""
    density_bits: int = 0
    """Densities are stored in steps of two to the power of minus this."""
    color_bits: int = 5
    """The same of harmonics."""


class StreamRFModel(StreamMethod):
    """Voxels that a stream holds, as a Nerfstudio model."""

    config: StreamRFModelConfig
    grid: VoxelGrid
    space_row: Tensor
    """Where the grid lies, for checkpoints."""
    fit: VoxelFit | None = None
    """What a later frame trains; None while it is held."""

    def populate_modules(self) -> None:
        """Make an empty grid; the images say where it lies."""
        super().populate_modules()
        self.set_up(torch.full((3,), 0.5))
        c = self.config
        box = self.scene_box.aabb.float().cpu()
        self.register_buffer("space_row", GridSpace(torch.eye(4), box[0], box[1]).to_tensor())
        self.grid = VoxelGrid(c.reso[0], torch.zeros(0, dtype=torch.long), c.init_sigma)
        self.background_color: Tensor = self.eval_background
        # Not modules' parameters: what a frame trains is no part of a checkpoint.
        names = [name for stage in GROUPS.values() for name in stage]
        self._of_frame = {name: nn.Parameter(torch.zeros(0)) for name in names}
        self._steps = Steps(c.step_size, c.stop_thres)
        self._streamed: StreamedVoxels | None = None
        self.decoder: VoxelDecoder | None = None
        self.state: VoxelState | None = None

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the grid of frame 0, and the groups that each later frame fills anew."""
        first = {"density": [self.grid.density], "sh": [self.grid.colors]}
        return first | {name: [parameter] for name, parameter in self._of_frame.items()}

    # -- frame 0 ------------------------------------------------------------------------------------

    def first_stage(self) -> Stage:
        """Return the training of a scene at rest."""
        return Stage("", self.config.stream.first_steps, frozenset(("density", "sh")))

    def later_stages(self) -> Sequence[Stage]:
        """Return pilot and full pass."""
        c = self.config
        return [
            Stage(name, p.n_iters, frozenset(GROUPS[name])) for name, p in ((PILOT, c.pilot), (FULL, c.full))
        ]

    def seed(self, datamanager: Any) -> None:
        """Lay the grid where the cameras look, and set what lies behind to the images' mean colour."""
        super().seed(datamanager)
        cameras, images = datamanager.images_at(0)
        Ks = cameras.get_intrinsics_matrices().to(self.device)
        viewmats = viewmats_of(cameras.camera_to_worlds).to(self.device)
        self.rig = Rig(viewmats, Ks, images.shape[2], images.shape[1], 1e-3)
        poses, box = cameras.camera_to_worlds.to(self.device), self.scene_box.aabb.to(self.device).float()
        depths = scene_of(self.kwargs["metadata"]).depth_bounds
        self.space_row = space_of(poses, self.rig, box, depths, self.config.space).to_tensor()
        self.eval_background.copy_(images.float().mean((0, 1, 2))[:3] / 255.0)
        c, shape = self.config, self.config.reso[0]
        index = seen_points(self.space, self.rig, shape)
        found = surfaces_of(cameras, images, box, c.surface_points) if c.surface_points else None
        if found is None:
            self.grid = VoxelGrid(shape, index, c.init_sigma)
        else:
            self.grid = grid_around(found, self.space, shape, index, c.init_sigma, c.surface_sigma)
        self.pixels = Pixels(self.rig, self.space, images[..., :3])

    @property
    def space(self) -> GridSpace:
        """The space that the grid lies in."""
        return GridSpace.from_tensor(self.space_row)

    def before_step(self, step: int) -> None:
        """Refine the grid of frame 0 where its time has come, and look anew at what is empty."""
        c = self.config
        first = c.stream.first_steps
        if step >= first:
            return
        marks = [round(part * first) for part in c.upsamp_parts]
        if step in marks and step:
            self._hide_the_unseen()
            self.grid = refined(self.grid, c.reso[marks.index(step) + 1], self._threshold(), 1)
            for name, parameter in (("density", self.grid.density), ("sh", self.grid.colors)):
                self._train(name, parameter)
        elif step % 16 == 0:
            self.grid.voxels(fresh=True)

    def _hide_the_unseen(self) -> None:
        least = self.config.weight_thresh
        if least:
            hide_the_unseen(self.grid, self.pixels, self._steps, least, self.step)

    def _threshold(self) -> float:
        """Return the density of solid voxels at the grid's resolution: the same share of light per voxel."""
        return self.config.sigma_thresh * max(self.grid.size) / max(self.config.reso[-1])

    def _train(self, name: str, parameter: nn.Parameter) -> None:
        optimizer = self.optimizers[name]
        optimizer.param_groups[0]["params"] = [parameter]
        optimizer.state.clear()

    @torch.no_grad()
    def end_first_frame(self, images: Images) -> tuple[StreamHeader, Planes]:
        """Round frame 0 to the lattice."""
        self._hide_the_unseen()
        c, g = self.config, self.grid
        near = solid_around(g, c.sigma_thresh, c.full.dilate_rate_after).view(-1)[g.index]
        values = Values(g.index, g.density, g.colors).rows(near)
        lattice = VoxelLattice(g.size, c.density_bits, c.color_bits)
        self.decoder = VoxelDecoder(lattice)
        planes = self.decoder.to_init(state_of(values, lattice))
        self.state = self._initial = self.decoder.start(planes)
        space = {
            BACKGROUND: " ".join(map(repr, self.eval_background.tolist())),
            "space": " ".join(map(repr, self.space_row.tolist())),
        }
        header = lattice.to_header() | space
        return StreamHeader("voxels", self.timeline.fps, self.timeline.frame_times, header), planes

    # -- later frames -------------------------------------------------------------------------------

    @torch.no_grad()
    def begin_frame(self, images: Images | None) -> dict[str, int]:
        """Set the pilot up."""
        assert self.state is not None and self.decoder is not None
        self.fit, self._before = None, values_of(self.state, self.decoder.lattice, self.device)
        if images is None:
            return {"voxels": len(self.state), "pixels": 0}
        before, self.pixels = self.pixels.images, Pixels(self.rig, self.space, images)
        changed_at = changed_pixels(images, before)
        self.pixels.prefer(changed_at)
        self._pilot_before, shape = begin_pilot(self._before, self.decoder.lattice.shape, self.config.pilot)
        index = self._pilot_before.index
        shares = change_shares(
            self.space, self.rig, places_in_cube(points_of(index, shape), shape), changed_at
        )
        free = shares >= self.config.change_votes
        self._may_change = mask_of(index[free], shape)
        self.fit = VoxelFit(shape, self._pilot_before, free)
        changed = self.pixels.changed
        return {"voxels": len(self.state), "pixels": 0 if changed is None else len(changed)}

    @torch.no_grad()
    def enter_stage(self, stage: str) -> None:
        """Hand the stage's parameters to the optimizers, after what the pilot has found in the full pass."""
        if self.fit is None:
            for name in GROUPS[stage]:
                self._train(name, self._of_frame[name])
            return
        if stage == FULL:
            self._leave_pilot()
        assert self.fit is not None
        for name, parameter in zip(GROUPS[stage], (self.fit.density, self.fit.colors), strict=True):
            self._train(name, parameter)

    def _leave_pilot(self) -> None:
        assert self.fit is not None and self.decoder is not None
        c, before = self.config, self._pilot_before
        small = self.fit.shape
        pilot = self._end_pass(before, c.pilot, 0.5 * c.sigma_thresh)
        masks = masks_between(before, pilot, small)
        band = c.erosions if c.apply_narrow_band else None
        self.fit = begin_full(
            self._before, self.decoder.lattice.shape, pilot, masks, self._may_change, c.full, band
        )

    def _end_pass(self, before: Values, settings: PassConfig, sigma_thresh: float) -> Values:
        assert self.fit is not None
        c = self.config
        if not c.compress_saving:
            settings = replace(settings, sh_keep_thres=0.0)
        return end_pass(before, self.fit, settings, sigma_thresh, c.density_keep_thres)

    @torch.no_grad()
    def end_frame(self) -> Planes:
        """Round what the frame keeps, and go on from what a decoder makes of it."""
        assert self.state is not None and self.decoder is not None
        after = self.state
        if self.fit is not None:
            kept = self._end_pass(self._before, self.config.full, self.config.sigma_thresh)
            after = state_of(kept, self.decoder.lattice)
        planes = self.decoder.difference(self.state, after)
        self.state, self.fit = self.decoder.advance(self.state, planes), None
        return planes

    def key_planes(self) -> Planes:
        """Return how the frame differs from frame 0."""
        assert self.state is not None and self.decoder is not None
        return self.decoder.to_key(self._initial, self.state)

    def next_image(self) -> int | None:
        """Rays are drawn from all images of the frame at once, here."""
        return None

    def memory(self) -> dict[str, Any]:
        """Return the colour behind the scene; all else is in the stream and the images."""
        return {"background": self.eval_background.cpu().numpy()}

    def recall(self, player: StreamPlayer[VoxelState], frame: int, memory: Mapping[str, np.ndarray]) -> None:
        """Go on after a frame."""
        self.decoder = decoder_of(player.reader.header)
        self._initial, self.state = player.seek(0), player.seek(frame)
        self.eval_background.copy_(torch.from_numpy(memory["background"]))
        self.pixels = Pixels(self.rig, self.space, self.images_at(frame))

    # -- a step -------------------------------------------------------------------------------------

    def get_outputs(self, ray_bundle: Cameras) -> dict[str, Any]:  # type: ignore[override]
        """Render rays of the frame with gradients; which ones depends on the step alone."""
        c, generator = self.config, torch.Generator().manual_seed(self.step)
        if self.step < c.stream.first_steps:
            grid, count = self.grid, max(round(c.tv_sparsity * len(self.grid)), 1)
            rows = torch.randint(max(len(grid), 1), (count,), generator=generator).to(self.device)
            variation = TotalVariation(rows, c.lambda_tv, c.lambda_tv_sh)
            return self._outputs(grid.voxels(), grid.density, grid.colors, variation, c.batch_size, generator)
        if self.fit is None or not len(self.fit.rows):
            return {}
        stage = c.pilot if self.fit.shape != self._shape else c.full
        variation = self.fit.variation(stage, c.tv_sparsity, generator)
        f = self.fit
        return self._outputs(f.voxels(), f.density, f.colors, variation, stage.batch_size, generator)

    @property
    def _shape(self) -> tuple[int, int, int]:
        assert self.decoder is not None
        return self.decoder.lattice.shape

    def _outputs(
        self,
        voxels: Voxels,
        density: Tensor,
        colors: Tensor,
        variation: TotalVariation | None,
        count: int,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        shot, truth = self.pixels.draw(count, generator, self.config.changed_share)
        found = render_rays(voxels, shot.rays, self._steps, density, colors, variation)
        rgb = found.colors + self.eval_background * (1 - found.accumulation[:, None])
        return {
            "rgb": rgb,
            "accumulation": found.accumulation,
            "truth": truth,
            "variation": found.variation,
        }

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return the mean squared error and the total variation."""
        if not outputs:
            return {"image": torch.zeros((), device=self.device, requires_grad=True)}
        return {"image": (outputs["rgb"] - outputs["truth"]).square().mean(), "tv": outputs["variation"]}

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Return nothing: seconds go into what is trained."""
        return {}

    # -- what is shown ------------------------------------------------------------------------------

    def show(self, player: StreamPlayer[VoxelState]) -> None:
        """Show the stream's frames."""
        self._streamed = StreamedVoxels(player, self.timeline)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Any]:
        """Render a camera at its time: colour, planar depth and accumulation."""
        camera = camera.to(self.device)
        if not is_pinhole(camera):
            return through_faces(self.get_outputs_for_camera, camera)
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        self._tell_of_gaps(time)
        chunk = self.config.eval_num_rays_per_chunk
        return render_image(
            self.voxels_at(time), self.space, camera, self._steps, self.background_color, chunk
        )

    def voxels_at(self, time: float) -> Voxels:
        """Return frame 0 while it is trained, then the stream's frame at a normalised time."""
        if self._streamed is None:
            return self.grid.voxels()
        return self._streamed.at(time, torch.device(self.device))

    def describe_size(self) -> dict[str, int]:
        """Return the number of voxels of frame 0."""
        return {"voxels": len(self.grid)}
