"""Fixtures that tests of several parts use: scenes, and the reasons to skip."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no worker ends late; skip gpu tests without a GPU."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs an NVIDIA GPU: bash scripts/gpu_check.sh where there is one")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="package")
def two_threads() -> Iterator[None]:
    """Give kernels two threads and torch one, whatever the machine has."""
    from dyn3d_ns.kernels import pool

    before, torch_before = pool._State.num_threads, torch.get_num_threads()
    pool._State.num_threads = 2
    torch.set_num_threads(1)
    yield
    pool._State.num_threads = before
    torch.set_num_threads(torch_before)


def pytest_configure() -> None:
    """Keep torch to one thread a worker: its threads stall each other where there are more than cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Say at the very end how many tests were skipped for which reason; reasons name what would run them."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("skipped, and what would run it")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4} x {reason}")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM act as in a terminal, also in children; in the background Ctrl-C is ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def deaf_to_ctrl_c() -> list[str]:
    """Return what a command is put behind to ignore SIGINT, as what a shell starts in the background does."""
    return ["bash", "-c", "trap '' INT; exec \"$@\"", "bash"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of datasets beside the repository; they are not part of it."""
    folder = ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"no datasets at {folder}: put the folder there, or a link to it")
    return folder


@pytest.fixture(scope="session")
def shipped_scene() -> Path:
    """Return the scene that the repository ships: 15 cameras, 60 frames, 200 px."""
    return ROOT / "scripts/scenes/fan-and-ball"


@pytest.fixture(scope="session")
def tiny_scene(shipped_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the shipped scene that trains in seconds: 48 px, 6 cameras, every 6th frame."""
    folder = tmp_path_factory.mktemp("scenes") / "tiny-fan-and-ball"
    for name in ("train", "val", "test"):
        transforms = json.loads((shipped_scene / f"transforms_{name}.json").read_text())
        kept = []
        for frame in transforms["frames"]:
            camera, index = Path(frame["file_path"]).stem.split("_")
            if int(camera[1:]) % 3 or int(index[1:]) % 6:
                continue
            image = Image.open(shipped_scene / frame["file_path"]).resize((48, 48), Image.Resampling.BOX)
            frame["file_path"] = f"{name}/{camera}_{index}"
            target = folder / f"{frame['file_path']}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
            kept.append(frame)
        transforms["frames"] = kept
        (folder / f"transforms_{name}.json").write_text(json.dumps(transforms))
    (folder / "ground_truth").mkdir()
    (folder / "ground_truth/motion.json").write_bytes(
        (shipped_scene / "ground_truth/motion.json").read_bytes()
    )
    return folder
