"""Trainings that an earlier version made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_config_of_before_is_said_to_be_of_an_earlier_version(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "!!python/object:dyn3d_ns.engine.trainer.DynamicTrainerConfig\n"
        "pipeline: !!python/object:dyn3d_ns.data.pipeline.DynamicPipelineConfig {}\n"
    )
    code = (
        "import sys; from nerfstudio.scripts.eval import entrypoint;"
        f"sys.argv = ['ns-eval', '--load-config', {str(config)!r}]; entrypoint()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "made with an earlier dyn3d_ns" in done.stderr and "Traceback" not in done.stderr
