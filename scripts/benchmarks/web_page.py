"""How close the page of `dyn3d export web` comes to `ns-render`, how large it is, and how fast it draws.

    python scripts/benchmarks/web_page.py CONFIG [--size 400] [--pictures FOLDER]

CONFIG is the config.yml of a training. The page is opened from the disk in a headless Chromium, which draws
on the CPU (SwiftShader) unless --gpu is given; its canvas is compared with the picture that `ns-render` makes
of the same camera, at ten cameras times six times, the future and what lies past the recording included.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dyn3d_ns.cli.export_web import ExportWeb, camera_of, picture
from dyn3d_ns.cli.rig import load_method, rig_of_config
from dyn3d_ns.io.splats import View

ON_CPU = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ON_GPU = ["--use-gl=angle", "--use-angle=gl-egl", "--ignore-gpu-blocklist"]
VIEWS = 10
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Parts of the recording."""
SEEKS = 20
PLAYED = 5.0
"""Seconds that the page plays for, to count its frames."""


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images of 8 bits a channel."""
    error = np.square(a.astype(np.float64) - b).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def link(view: View, seconds: float) -> str:
    """Return what stands behind the # for a camera and a second, with square pictures."""
    from scipy.spatial.transform import Rotation

    pose = np.asarray(view.pose)
    turn = Rotation.from_matrix(pose[:3, :3]).as_quat()
    fields = {"t": [seconds], "at": pose[:3, 3], "turn": turn, "lens": [view.fov, 1.0, 1.0]}
    return "#" + "&".join(
        f"{name}=" + ",".join(f"{x:.9g}" for x in values) for name, values in fields.items()
    )


class OpenPage:
    """A page in a headless browser, whose canvas has a size of its own choice."""

    def __init__(self, browser, path: Path, size: int) -> None:
        self.page = browser.new_page(viewport={"width": size, "height": 2 * size})
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.settle()
        script = "size => Object.assign(document.querySelector('main').style, {flex: 'none', height: size})"
        self.page.evaluate(script, f"{size}px")
        self.page.evaluate("document.querySelector('h1').hidden = true")

    def settle(self) -> None:
        """Wait until the picture is the one asked for."""
        self.page.locator("body[data-settled=true]").wait_for(state="attached", timeout=120_000)

    def show(self, view: View, seconds: float) -> float:
        """Go to a camera and a second; return how many seconds that took until the picture stood."""
        script = """hash => new Promise(done => {
            const start = performance.now();
            location.replace(hash);
            const {dataset} = document.body;
            const look = () => dataset.settled === "true" && dataset.link === hash
                ? done(performance.now() - start) : requestAnimationFrame(look);
            requestAnimationFrame(look);
        })"""
        return self.page.evaluate(script, link(view, seconds)) / 1000

    def picture(self) -> np.ndarray:
        """Return the canvas, 8 bits a channel."""
        png = self.page.locator("#picture").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def frames_per_second(self) -> float:
        """Play, and count the pictures that were drawn."""
        script = """seconds => new Promise(done => {
            const before = +document.body.dataset.drawn, start = performance.now();
            document.getElementById("play").click();
            setTimeout(() => {
                document.getElementById("play").click();
                done((+document.body.dataset.drawn - before) / (performance.now() - start) * 1000);
            }, 1000 * seconds);
        })"""
        return self.page.evaluate(script, PLAYED)


def main() -> None:
    """Write the page, and compare."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    model, rig = load_method(args.config), rig_of_config(args.config)
    views = rig.views(rig.poses)
    chosen = [views[i] for i in np.linspace(0, len(views) - 1, VIEWS).round().astype(int)]
    timeline = model.timeline
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "scene.html"
        began = time.perf_counter()
        ExportWeb(load_config=args.config, output=path).run()
        print(f"written in {time.perf_counter() - began:.1f} s, the loading of the training included")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", *(ON_GPU if args.gpu else ON_CPU)],
        )
        page = OpenPage(browser, path, args.size)
        scores: dict[float, list[float]] = {}
        last = timeline.frame_times[-1]
        for part in TIMES:
            moment = timeline.snap(part * last)
            for number, view in enumerate(chosen):
                square = View(view.pose, view.fov, (args.size, args.size))
                page.show(square, timeline.seconds(moment))
                shown = page.picture()
                truth = picture(model, camera_of(square, args.size, moment))
                scores.setdefault(moment, []).append(psnr(shown, truth))
                if args.pictures:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    both = np.concatenate([shown, truth], 1)
                    Image.fromarray(both).save(args.pictures / f"{moment:.3f}_{number}.png")
        for moment, values in scores.items():
            kind = "predicted" if moment > timeline.t_obs else "observed"
            print(f"time {moment:.3f} ({kind}): {np.mean(values):.2f} dB, worst {min(values):.2f} dB")
        every = [value for values in scores.values() for value in values]
        print(f"all {len(every)}: {np.mean(every):.2f} dB, worst {min(every):.2f} dB")
        moments = np.random.default_rng(0).uniform(0, 1.25 * last, SEEKS)
        waits = [page.show(chosen[0], timeline.seconds(moment)) for moment in moments]
        print(f"seek: median {1000 * np.median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms")
        print(f"plays {page.frames_per_second():.1f} frames a second")
        browser.close()


if __name__ == "__main__":
    main()
