"""The table of motion errors."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from dyn3d_ns.cli.eval_motion import EvalMotion, motion_table
from dyn3d_ns.io.errors import MissingFileError
from dyn3d_ns.io.motion_truth import MotionGroundTruth, ObjectMotion, SurfaceSample
from dyn3d_ns.metrics.motion import motion_error


def test_table_shows_relative_errors_and_missing_parts() -> None:
    rest, twist = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    twist[0, 0, 3] = 2.0  # along x
    poses = np.eye(4)[None]
    objects = (ObjectMotion("ball", 1, poses, twist), ObjectMotion("stand", 2, poses, rest))
    truth = MotionGroundTruth(Path("motion.json"), np.array([0.0]), objects)
    points = np.zeros((4, 3))
    velocities = np.array([[2.0, 0, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]])
    sample = SurfaceSample(0.0, points, velocities, np.array([1, 1, 2, 2]))
    predicted = torch.tensor([[2.2, 0, 0], [1.8, 0, 0], [0.1, 0, 0], [0, 0, 0]])
    errors = motion_error(lambda points, time: predicted, truth, [sample], t_obs=0.5)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(motion_table(errors))
    lines = [line.split() for line in console.export_text().replace("│", " ").splitlines()]
    assert ["all", "that", "moves", "2", "2.0000", "0.2000", "10.00", "%"] in lines
    assert ["stand", "2", "0.0000", "0.0500", "2.50", "%", "4.95", "%", "5.00", "%"] in lines
    for title in ("Future times", "its first half"):
        assert lines[lines.index(title.split()) + 1] == ["nothing", "that", "moves", "is", "seen"]


def test_missing_ground_truth_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="motion.json does not exist"):
        EvalMotion(load_config=tmp_path / "config.yml", gt=tmp_path / "motion.json").run()
