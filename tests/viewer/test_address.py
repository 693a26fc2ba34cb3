"""On which address a viewer listens: this machine's own unless the command line names another."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer
from torch import nn

from dyn3d_ns.engine import commands


class Stock(nn.Module):
    """As much of a pipeline as a viewer needs to start."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.datamanager = nn.Module(), SimpleNamespace(includes_time=True)


class Ours(Stock):
    """The same, as a pipeline of ours."""


@pytest.mark.parametrize(
    ("pipeline", "arguments", "host"),
    [
        (Ours, [], "127.0.0.1"),
        (Ours, ["--viewer.websocket-host", "0.0.0.0"], "0.0.0.0"),
        (Ours, ["--viewer.websocket_host=0.0.0.0"], "0.0.0.0"),
        (Stock, [], "0.0.0.0"),
    ],
)
def test_our_methods_are_shown_to_this_machine_only(
    pipeline: type, arguments: list[str], host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.adapt(Ours)
    monkeypatch.setattr(sys, "argv", ["ns-viewer", "--load-config", "config.yml", *arguments])
    log = tmp_path / ("moved/viewer.txt" if pipeline is Ours else "viewer.txt")
    viewer = Viewer(ViewerConfig(), log, tmp_path, pipeline())
    try:
        assert viewer.viser_server.get_host() == host
    finally:
        viewer.viser_server.stop()
