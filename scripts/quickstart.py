"""Train the shipped scene, measure it and render it from moving viewpoints into its unobserved future."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CONSOLE = Console(highlight=False)


@dataclass
class Args:
    """Quickstart: train, measure and render the scene fan-and-ball."""

    data: Path = ROOT / "scripts/scenes/fan-and-ball"
    """scene to train on; another folder gets results of its own"""
    output: Path = ROOT / "outputs/quickstart"
    """where everything is written"""
    method: str = "dyn3d-velocity-fast"
    """method to train"""
    steps: int | None = None
    """training steps, if not the method's own number"""


@dataclass
class Paths:
    """The files of a quickstart; each is there only when it is whole."""

    run: Path

    @property
    def config(self) -> Path:
        """What every ns-* command takes as --load-config."""
        return self.run / "config.yml"

    @property
    def metrics(self) -> Path:
        """What ns-eval wrote."""
        return self.run / "metrics.json"

    @property
    def camera_path(self) -> Path:
        """The orbit, as ns-render camera-path reads it."""
        return self.run / "orbit.json"

    @property
    def video(self) -> Path:
        """The rendered orbit."""
        return self.run / "orbit.mp4"

    @property
    def trained(self) -> Path:
        """Marks a finished training and holds the seconds it took."""
        return self.run / "trained.json"


def execute(*command: str | Path) -> float:
    """Run a command of this environment, show its output and return the seconds it took."""
    words = [str(word) for word in command]
    CONSOLE.print(f"\n[bold cyan]$ {' '.join(words)}")
    start = time.perf_counter()
    executable = Path(sys.executable).with_name(words[0])
    status = subprocess.run([str(executable), *words[1:]], cwd=ROOT, check=False).returncode
    if status != 0:
        sys.exit(f"{words[0]} failed with exit status {status}; its last lines above say why")
    return time.perf_counter() - start


def train(args: Args, paths: Paths) -> None:
    """Train, going on from the last checkpoint if an earlier quickstart was stopped."""
    if paths.trained.exists():
        CONSOLE.print(f"Already trained: {paths.run}")
        return
    checkpoints = paths.run / "nerfstudio_models"
    resume = ["--load-dir", checkpoints] if any(checkpoints.glob("step-*.ckpt")) else []
    # fmt: off
    seconds = execute(
        "ns-train", args.method, "--data", args.data, *resume,
        "--output-dir", args.output, "--experiment-name", args.data.name, "--timestamp", "quickstart",
        "--viewer.quit-on-train-completion", "True",
        *(["--max-num-iterations", str(args.steps)] if args.steps else []),
    )
    # fmt: on
    paths.trained.write_text(json.dumps({"seconds": seconds, "resumed": bool(resume)}))


def measure(paths: Paths) -> None:
    """Compare every held-out and every future frame with the recording."""
    if paths.metrics.exists():
        CONSOLE.print(f"Already measured: {paths.metrics}")
        return
    execute("ns-eval", "--load-config", paths.config, "--output-path", paths.metrics)


def render(paths: Paths) -> None:
    """Render a camera that circles the scene while time runs on past the last frame that was trained on."""
    if paths.video.exists():
        CONSOLE.print(f"Already rendered: {paths.video}")
        return
    execute(
        "dyn3d", "path", "orbit", "--load-config", paths.config, "--output", paths.camera_path,
        "--seconds", "5", "--resolution", "400", "400",
    )  # fmt: skip
    unfinished = paths.video.with_name("unfinished.mp4")
    execute(
        "ns-render", "camera-path", "--load-config", paths.config,
        "--camera-path-filename", paths.camera_path, "--output-path", unfinished,
    )  # fmt: skip
    unfinished.replace(paths.video)


def report(paths: Paths) -> None:
    """Print what came out and what to do next."""
    results = json.loads(paths.metrics.read_text())["results"]
    trained = json.loads(paths.trained.read_text())
    table = Table(title=paths.run.parents[1].name, title_justify="left")
    for heading in ("", "PSNR (dB)", "SSIM"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, split in (("interpolation (held-out cameras)", "interp"), ("future (never seen)", "future")):
        table.add_row(label, f"{results[f'{split}_psnr']:.2f}", f"{results[f'{split}_ssim']:.4f}")
    table.add_section()
    note = " since resuming" if trained["resumed"] else ""
    table.add_row("training, start of the program included", f"{trained['seconds']:.0f} s{note}", "")
    table.add_row("Gaussians", f"{results['num_gaussians']:,}", "")
    table.add_row("rendering", f"{results['fps']:.0f} frames/s", "")
    CONSOLE.print("\n", table)
    video, config = (
        path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        for path in (paths.video, paths.config)
    )
    CONSOLE.print(f"Video:  {video}", soft_wrap=True)
    CONSOLE.print(f"Watch:  {_command('ns-viewer')} --load-config {config}", soft_wrap=True)


def _command(name: str) -> str:
    """Return how the user's own shell, where .venv is not on PATH, calls a command."""
    return os.path.relpath(shutil.which(name, path=str(Path(sys.executable).parent)) or name, Path.cwd())


def main(args: Args) -> None:
    """Do what is not done yet, and report."""
    start = time.perf_counter()
    data = args.data.resolve()
    paths = Paths(args.output.resolve() / data.name / args.method / "quickstart")
    train(args, paths)
    measure(paths)
    render(paths)
    report(paths)
    CONSOLE.print(f"[dim]{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main(tyro.cli(Args))
