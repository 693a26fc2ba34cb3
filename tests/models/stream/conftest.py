"""Trainings of the real streaming method on a small recording, made once."""

from __future__ import annotations

import pytest
from stream_scene import Streaming, write_recording

from dyn3d_ns.engine.trainer import DynamicTrainer


@pytest.fixture(scope="session")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Streaming:
    """Return the runner of trainings on the small recording."""
    return Streaming(write_recording(tmp_path_factory.mktemp("rolling")), tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="session")
def unbroken(streaming: Streaming) -> DynamicTrainer:
    """Return a training that nothing disturbed."""
    return streaming.run(streaming.config("unbroken"))
