"""What an uncaught exception of a command tells its user, with Nerfstudio's own loader."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts.render import RenderCameraPath
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.plain_errors import explanation


def explain(config_path: Path) -> str | None:
    """Return what a stock command says when it loads a config."""
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011  # whatever the stock loader raises
        eval_setup(config_path)
    return explanation(caught.value, caught.value.__traceback__)


@pytest.fixture
def config_path(tiny_scene: Path, tmp_path: Path) -> Path:
    """Return the config of a training that has left no checkpoint."""
    config = copy.deepcopy(all_methods["dyn3d-velocity-fast"])
    config.output_dir, config.experiment_name, config.timestamp = tmp_path, "x", "y"
    config.pipeline.datamanager.data = tiny_scene
    config.get_checkpoint_dir().mkdir(parents=True)
    path = config.get_base_dir() / "config.yml"
    path.write_text(yaml.dump(config))
    return path


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    said = explain(tmp_path / "config.yml")
    assert said is not None and f"{tmp_path}/config.yml is not there" in said and "ns-train prints" in said
    assert f"{tmp_path} is a folder" in (explain(tmp_path) or "")


def test_a_folder_without_checkpoints_is_named(config_path: Path) -> None:
    said = explain(config_path)
    assert said is not None and f"{config_path.parent}/nerfstudio_models holds no checkpoint" in said


def test_a_damaged_scene_is_named(config_path: Path, tmp_path: Path) -> None:
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)  # noqa: S506  # our own file
    config.pipeline.datamanager.data = tmp_path / "nowhere"
    config_path.write_text(yaml.dump(config))
    assert "nowhere" in (explain(config_path) or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "not there"), ("{", "no JSON"), ('{"seconds": 1}', "lacks 'render_height'")],
)
def test_a_wrong_camera_path_is_named(
    config_path: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "orbit.json"
    if content is not None:
        path.write_text(content)
    command = RenderCameraPath(load_config=config_path, camera_path_filename=path)
    with pytest.MonkeyPatch.context() as patch:
        # The scene is loaded first; here only the camera path matters.
        patch.setattr("nerfstudio.scripts.render.eval_setup", lambda *a, **k: (None, None, None, None))
        with pytest.raises((OSError, ValueError, KeyError)) as caught:
            command.main()
    message = explanation(caught.value, caught.value.__traceback__)
    assert message is not None
    assert f"--camera-path-filename {path}" in message and said in message and "dyn3d path" in message


def test_other_exceptions_keep_their_traceback() -> None:
    error = ValueError("a mistake of ours")
    assert explanation(error, None) is None


HOOK = """
import sys
from dyn3d_ns import plain_errors
plain_errors.install(); plain_errors.install()
from dyn3d_ns.io.errors import DatasetError
raise {error}
"""


@pytest.mark.parametrize(
    ("error", "wanted", "traceback", "said"),
    [
        ("DatasetError('pose 3 is not rigid')", "0", False, ["Error: pose 3 is not rigid"]),
        ("DatasetError('pose 3 is not rigid')", "1", True, ["Error: pose 3 is not rigid"]),
        ("KeyError('inside')", "0", True, []),
    ],
)
def test_commands_show_the_message_alone(error: str, wanted: str, traceback: bool, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(error=error)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DYN3D_TRACEBACK": wanted},
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) is traceback
    assert [line for line in done.stderr.splitlines() if line.startswith("Error:")] == said
