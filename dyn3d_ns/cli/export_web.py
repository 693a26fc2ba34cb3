"""`dyn3d export web`: a trained scene as a page that plays it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dyn3d_ns.cli.errors import require_output_file
from dyn3d_ns.io.splats import Up, View

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

    from dyn3d_ns.cli.rig import CameraRig
    from dyn3d_ns.engine.method import DynamicMethod
    from dyn3d_ns.export.web import Page
    from dyn3d_ns.export.web_scene import PackedScene

POSTER_HEIGHT = 480
"""Pixels."""


@dataclass(kw_only=True)
class ExportWeb:
    """Write one page (.html) that plays the scene in any browser with WebGL 2, without a server or network.

    It shows the recording and, of methods that know it, a future a quarter as long.
    """

    load_config: Path
    """config.yml of a training."""
    output: Path
    """File to write (.html)."""
    title: str = ""
    """What stands above the scene; the name of the experiment if it is empty."""
    up: Up = "data"
    """Axis that the view turns about: y or z of the data, or what the cameras hold up."""

    def run(self) -> None:
        """Load the scene and write the page."""
        from dyn3d_ns.cli.rig import load_scene, telling_what_lacks
        from dyn3d_ns.engine.config_file import load_config
        from dyn3d_ns.export.web import write_page

        require_output_file(self.output, ".html")
        config = load_config(self.load_config)
        model, method, rig = load_scene(self.load_config)
        title = self.title or config.experiment_name or "Scene"
        with telling_what_lacks(self.load_config):
            scene = pack(model)
            written = write_page(self.output, scene, page_of(model, rig, title, method, self.up))
        moving = f"{scene.count} Gaussians, {scene.moving} of them moving"
        print(f"{written.path}: {moving}, {scene.end:.4g} s, {written.size / 1e6:.2f} MB")
        print(f"held: {written.loss}")
        print(written.note)


def pack(model: DynamicMethod) -> PackedScene:
    """Return a method's scene as the page takes it: its motion where the page can compute that itself.

    Raises:
        NoGaussiansError: the method has none.
    """
    from dyn3d_ns.export.scene import TrainedSequence
    from dyn3d_ns.export.web_scene import pack_carried, pack_sequence
    from dyn3d_ns.gaussians.carried import CarriedScene
    from dyn3d_ns.geometry.world import SAME
    from dyn3d_ns.io.splats import About
    from dyn3d_ns.models.gaussian_model import GaussianModel

    sequence = TrainedSequence(model, model.timeline.frame_times, About(), SAME)
    if isinstance(model, GaussianModel) and isinstance(model.scene, CarriedScene):
        sequence.at(0)  # refuses what no format holds
        return pack_carried(model.scene, model.timeline)
    return pack_sequence(sequence)


def page_of(model: DynamicMethod, rig: CameraRig, title: str, method: str, up: Up) -> Page:
    """Return what a page tells of a trained scene, and render its poster."""
    from dyn3d_ns.export.scene import AXES, about_model
    from dyn3d_ns.export.web import Page
    from dyn3d_ns.models.gaussian_model import GaussianModel

    timeline, views = model.timeline, rig.views(rig.poses)
    towards = rig.up if up == "data" else rig.world.transform[:3, :3] @ np.array(AXES[up])
    return Page(
        title=title,
        about=about_model(model, method, up, views, np.eye(3)),
        recorded=timeline.seconds(timeline.frame_times[-1]),
        up=tuple(map(float, towards)),  # type: ignore[arg-type]
        near=model.config.camera_near if isinstance(model, GaussianModel) else 0.01,
        background=tuple(model.eval_background.tolist()),  # type: ignore[arg-type]
        poster=poster(model, views[0]),
    )


def camera_of(view: View, height: int, time: float) -> Cameras:
    """Return a recorded camera at a time, for images of another height."""
    import torch
    from nerfstudio.cameras.cameras import Cameras

    width = round(height * view.size[0] / view.size[1])
    focal = 0.5 * height / np.tan(np.radians(view.fov) / 2)
    return Cameras(
        torch.from_numpy(np.asarray(view.pose)[None, :3]).float(),
        float(focal), float(focal), 0.5 * width, 0.5 * height, width, height,
        times=torch.tensor([[time]]),
    )  # fmt: skip


def picture(model: DynamicMethod, camera: Cameras) -> np.ndarray:
    """Render a camera as `ns-render` does, 8 bits a channel."""
    import torch

    with torch.no_grad():
        rgb = model.get_outputs_for_camera(camera.to(model.device))["rgb"]
    return (255 * rgb.clamp(0, 1)).round().byte().cpu().numpy()


def poster(model: DynamicMethod, view: View, height: int = POSTER_HEIGHT) -> bytes:
    """Render the first frame through a camera, as JPEG."""
    from PIL import Image

    stream = io.BytesIO()
    image = picture(model, camera_of(view, height, model.timeline.frame_times[0]))
    Image.fromarray(image).save(stream, "JPEG", quality=80)
    return stream.getvalue()
