"""Fixtures that tests of several parts use: scenes, and the reasons to skip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no GPU."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs an NVIDIA GPU")
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


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of datasets beside the repository; they are not part of it."""
    folder = ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"no datasets at {folder}")
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
