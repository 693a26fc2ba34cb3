"""Frames per second that the stock viewer serves of a trained scene while time plays, without a browser."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import tyro
from nerfstudio.configs.base_config import LoggingConfig, ViewerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from viser import transforms
from viser._scene_api import _encode_image_binary

from dyn3d_ns.viewer import playback


@dataclass
class Args:
    """What to watch and for how long."""

    load_config: Path
    """config.yml of a training"""
    resolution: int = 400
    """height and width in pixels"""
    seconds: float = 4.0
    """time to play for each figure"""
    outputs: tuple[str, ...] = ("rgb", "velocity", "depth")
    """outputs to show"""


class Browser:
    """Stands where a browser would: looks through the first training camera, and has each image encoded."""

    def __init__(self, camera: Any) -> None:
        pose = camera.camera_to_worlds.numpy()
        rotation = transforms.SO3.from_matrix(pose[:3, :3]) @ transforms.SO3.from_x_radians(np.pi)
        fov = 2 * np.arctan(0.5 * float(camera.height) / float(camera.fy))
        position = pose[:3, 3] * VISER_NERFSTUDIO_SCALE_RATIO
        self.camera = SimpleNamespace(wxyz=rotation.wxyz, position=position, fov=fov, aspect=1.0)
        self.scene = SimpleNamespace(set_background_image=self.receive)
        self.frames: list[tuple[int, int]] = []

    def receive(
        self, image: np.ndarray, format: Any = "jpeg", jpeg_quality: int | None = None, **_: Any
    ) -> None:
        """Encode an image as the server does before it sends it; keep its height and size in bytes."""
        self.frames.append((image.shape[0], len(_encode_image_binary(image, format, jpeg_quality)[1])))


def play(model: Any, browser: Browser, limit: float, seconds: float) -> str:
    """Play for some seconds with at most `limit` frames a second and say what was shown."""
    playback.FRAME_RATE = limit
    browser.frames.clear()
    model.playback.seek(model.timeline.frame_times[0])
    model.playback.clock.set_speed(0.1, time.monotonic())
    began = time.perf_counter()
    model.playback.play()
    time.sleep(seconds)
    model.playback.pause()
    taken, frames = time.perf_counter() - began, list(browser.frames)
    kilobytes = np.mean([size for _, size in frames]) / 1000
    return f"{len(frames) / taken:6.1f} frames/s at {max(h for h, _ in frames)} px, {kilobytes:.0f} kB each"


def main(args: Args) -> None:
    """Serve the scene and print the figures."""
    _, pipeline, _, _ = eval_setup(args.load_config, test_mode="inference")
    pipeline.eval()
    model: Any = pipeline.model
    logging = LoggingConfig()
    logging.local_writer.enable = False
    writer.setup_local_writer(logging, max_iter=1)
    with TemporaryDirectory() as folder:
        log = Path(folder) / "viewer.txt"
        config = ViewerConfig(websocket_host="127.0.0.1")
        viewer = Viewer(config, log, Path(folder), pipeline, train_lock=threading.Lock())
        viewer.control_panel._max_res.value = args.resolution
        browser: Any = Browser(pipeline.datamanager.train_dataset.cameras[0])  # type: ignore[union-attr]
        machine = RenderStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, browser)
        viewer.render_statemachines[0] = machine
        machine.start()
        for output in args.outputs:
            for _ in range(2):  # the names of the outputs are known after the first picture
                machine.action(RenderAction("step", viewer.get_camera_state(browser)))
                time.sleep(1.0)
                viewer.control_panel._output_render.value = output
            for limit in (30.0, 1000.0):
                label = f"{output}, at most {limit:.0f}:" if limit < 1000 else f"{output}, no limit:"
                print(f"{label:24} {play(model, browser, limit, args.seconds)}", flush=True)
        machine.running = False
        machine.join(timeout=5.0)
        viewer.viser_server.stop()


if __name__ == "__main__":
    main(tyro.cli(Args))
