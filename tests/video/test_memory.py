"""Memory does not grow with the length of the clip."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video.clips import texture, write_folder

OPTIONS = ("--flow.preset", "fast", "--tracks.max-tracks", "1000", "--stages", "frames,flow,keyframes,tracks")


def peaks(source: Path, out: Path, count: int) -> dict[str, float]:
    """Run the first stages in a process of their own; return the peak memory of each in MB."""
    command = [sys.executable, "-m", "dyn3d_ns.cli.main", "process", str(source), str(out)]
    subprocess.run([*command, "--max-frames", str(count), *OPTIONS], check=True, capture_output=True)
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    return {name: stage["peak_memory_mb"] for name, stage in stages.items()}


@pytest.mark.slow
def test_a_longer_clip_takes_no_more_memory(tmp_path: Path) -> None:
    big = texture(240, 560)
    # The picture sways, so that points stay in it and no frame equals its neighbour.
    frames = [big[:, (x := 3 * abs(i % 40 - 20)) : x + 400] for i in range(72)]
    source = write_folder(tmp_path / "in", frames)
    short, long = peaks(source, tmp_path / "short", 12), peaks(source, tmp_path / "long", 72)
    # All frames at once would take 17 MB more, all flows 92 MB.
    for stage, peak in short.items():
        assert long[stage] < peak + 25, f"{stage}: {peak} MB for 12 frames, {long[stage]} MB for 72"


def test_stages_before_the_adjustment_do_without_torch() -> None:
    """It takes more memory than all that they hold."""
    code = (
        "import sys, dyn3d_ns.cli.process, dyn3d_ns.video.runner, dyn3d_ns.video.cameras.estimators,"
        "dyn3d_ns.video.depth.estimators, dyn3d_ns.video.masks.ego_flow, dyn3d_ns.video.fuse.gather;"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]
