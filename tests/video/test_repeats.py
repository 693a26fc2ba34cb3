"""The same clip gives the same files, bit by bit, on one thread and on two, whatever ran before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from dyn3d_ns.cli.main import main
from dyn3d_ns.kernels import pool
from tests.video.cards import CardClip
from tests.video.clips import write_folder
from tests.video.test_pipeline import CARDS, FEW_STEPS

DATED = ("optimization_times.txt", "processing_summary.json", "caption_results_measured_")
"""Files that state when they were made, or how long it took."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let OpenCV, torch and our kernels use so many threads."""
    before = cv2.getNumThreads(), torch.get_num_threads(), pool.get_num_threads()
    setters = cv2.setNumThreads, torch.set_num_threads, pool.set_num_threads
    for set_threads in setters:
        set_threads(count)
    try:
        yield
    finally:
        for set_threads, number in zip(setters, before, strict=True):
            set_threads(number)


def digests(root: Path) -> dict[str, str]:
    """Return the digest of each file that a stage wrote."""
    records = [json.loads(path.read_text())["files"] for path in sorted((root / ".dyn3d").glob("*.json"))]
    return {
        name: state[2]
        for files in records
        for name, state in files.items()
        if not any(dated in name for dated in DATED)
    }


def test_runs_repeat(tmp_path: Path) -> None:
    clip = CardClip(CARDS, frames=4, width=112, height=84, camera_step=(0.12, 0.0, 0.03))
    source = write_folder(tmp_path / "source", clip.images, "{:02}.png")
    found = []
    for count in (1, 2):
        out = tmp_path / f"{count}" / "clip"
        with threads(count):
            assert main(["process", str(source), str(out), "--cameras.focal", "100", *FEW_STEPS]) == 0
        found.append(digests(out))
        # Whatever else the process does must not matter.
        cv2.setRNGSeed(17)
        np.random.seed(17)  # noqa: NPY002 (the generator that libraries share)
        random.seed(17)
        torch.manual_seed(17)
    assert len(found[0]) > 60
    assert [name for name in found[0] if found[0][name] != found[1].get(name)] == []
