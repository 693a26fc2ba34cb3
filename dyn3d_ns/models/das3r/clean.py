"""The frames of a video without what moves in it, one at a time, from a trained static scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from dyn3d_ns.data.priors import area_to
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.resampling import mask_to
from dyn3d_ns.models.das3r.compose import Composed, ComposeSettings, compose, lay_over
from dyn3d_ns.models.das3r.masks import widen
from dyn3d_ns.models.das3r.model import Das3rModel


@dataclass
class Rendered:
    """The static scene through the camera of a frame."""

    image: Float32[np.ndarray, "H W 3"]
    """Colours in 0..1."""
    solid: Bool[np.ndarray, "H W"]
    """Where there is a surface."""


class CleanFrames:
    """Composes frames of a video; holds no image between two of them."""

    def __init__(
        self,
        model: Das3rModel,
        footage: Footage,
        splits: Sequence[DataparserOutputs],
        settings: ComposeSettings | None = None,
    ) -> None:
        """Sort the cameras of all splits by time.

        Args:
            model: The static scene.
            footage: The video that it was trained on.
            splits: What the dataparser says of each split, the training images' first; every frame of the
                video is in one of them.
            settings: What counts as the same.
        """
        self.model, self.footage = model, footage
        self.settings = settings or ComposeSettings()
        frame_of = {path: i for i, path in enumerate(footage.frames)}
        self._cameras: dict[int, Cameras] = {}
        self._views: dict[int, int] = {}
        for k, outputs in enumerate(splits):
            for i, path in enumerate(outputs.image_filenames):
                frame = frame_of[path]
                self._cameras.setdefault(frame, outputs.cameras[i : i + 1])
                if k == 0:
                    self._views[frame] = i
        missing = len(footage.frames) - len(self._cameras)
        if missing:
            raise ValueError(f"{missing} of {len(footage.frames)} frames have no camera in the splits")

    def compose(
        self,
        frame: int,
        recorded: UInt8[np.ndarray, "H W 3"],
        keep: Sequence[int] = (),
        everything: bool = False,
    ) -> Composed:
        """Compose one frame at the size of its recorded image.

        Args:
            frame: Number of the frame in the footage.
            recorded: Its image, of any size.
            keep: Ids of objects to lay over.
            everything: Show the rendering everywhere.
        """
        height, width = recorded.shape[:2]
        image = recorded.astype(np.float32) / 255
        rendered = self.render(frame, width, height)
        static = area_to(self.static(frame), (width, height))
        known = rendered.solid & self.model.seen(self._camera(frame, width, height)).cpu().numpy()
        composed = compose(image, rendered.image, static, known, self.settings, everything)
        if keep:
            ids = np.isin(self.labels(frame), keep)
            composed = lay_over(composed, image, mask_to(ids, (width, height)))
        return composed

    def all(self, images: Iterable[UInt8[np.ndarray, "H W 3"]], **options) -> Iterator[Composed]:
        """Compose one frame after the other from the images of all of them, in order."""
        for frame, image in enumerate(images):
            yield self.compose(frame, image, **options)

    def labels(self, frame: int) -> np.ndarray:
        """Return the objects' ids in a frame; only clips that `dyn3d process` made have such."""
        from dyn3d_ns.io.footage.clip import ClipFootage

        assert isinstance(self.footage, ClipFootage)
        return self.footage.clip.labels(frame)

    @torch.no_grad()
    def render(self, frame: int, width: int, height: int) -> Rendered:
        """Render the static scene through the refined camera of a frame, at any size."""
        outputs = self.model.get_outputs_for_camera(self._camera(frame, width, height))
        solid = outputs["accumulation"][..., 0] >= 0.5
        return Rendered(outputs["rgb"].float().cpu().numpy(), solid.cpu().numpy())

    def static(self, frame: int) -> Float32[np.ndarray, "h w"]:
        """Return how sure it is that pixels rest: as training found it, for held-out frames by the masks."""
        views = self.model.views
        view = self._views.get(frame)
        if view is not None:
            return self._trained(view)
        height, width = views.static.shape[1:]
        if not ("motion" in self.footage.names and self.model.config.use_masks):
            # Nobody looked at this frame: what moved in the frames around it may move here.
            around, _ = views.neighbours(self.model.time_of(self._cameras[frame]))
            return np.minimum(*(self._trained(int(i)) for i in around))
        motion = torch.from_numpy(area_to(self.footage.motion(frame), (width, height)))
        return (1 - widen(motion[None], self.model.margin(height, width))[0]).numpy()

    def _trained(self, view: int) -> Float32[np.ndarray, "h w"]:
        return self.model.static_of(view)[..., 0].clamp(0, 1).detach().cpu().numpy()

    def _camera(self, frame: int, width: int, height: int) -> Cameras:
        camera = self._cameras[frame].to(self.model.device)
        across, down = width / int(camera.width), height / int(camera.height)
        camera = Cameras(
            camera_to_worlds=camera.camera_to_worlds,
            fx=camera.fx * across,
            fy=camera.fy * down,
            cx=camera.cx * across,
            cy=camera.cy * down,
            width=width,
            height=height,
            camera_type=camera.camera_type,
            times=camera.times,
        )
        return self.model.corrected_camera(camera)
