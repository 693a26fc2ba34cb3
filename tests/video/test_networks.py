"""Networks as plug-ins: their loading code runs on small networks that the test makes itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.flow.raft import RaftFlow
from dyn3d_ns.video.tracks.cotracker import CoTracker, grid_queries
from tests.video.clips import shifted_frames


def test_raft_runs_from_a_file_on_images_of_any_size(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    model = raft_small(weights=None)
    torch.save({f"module.{k}": v for k, v in model.state_dict().items()}, tmp_path / "raft.pth")
    a, b = shifted_frames(2, 90, 131)
    flow = RaftFlow(tmp_path / "raft.pth", updates=2)(a, b)
    assert flow.shape == (90, 131, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()

    def whole(image: np.ndarray) -> torch.Tensor:
        image = np.pad(image, ((0, 38), (0, 5), (0, 0)), mode="edge")
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1

    with torch.no_grad():
        expected = model.eval()(whole(a), whole(b), num_flow_updates=2)[-1][0].permute(1, 2, 0)
    assert np.abs(flow - expected[:90, :131].numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("text", "not a readable state dict"),
        ([1], "holds a list"),
        ({"a": 1}, "does not fit"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(StageError, match=message):
        RaftFlow(path)


class Mover(torch.nn.Module):
    """Moves every point by (2, 1) pixels a frame; visible in even frames."""

    def forward(self, video: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = torch.arange(video.shape[1])[None, :, None, None] - queries[:, None, :, :1]
        xy = queries[:, None, :, 1:] + t * torch.tensor([2.0, 1.0])
        even = (torch.arange(video.shape[1]) % 2 == 0).float()
        return xy, even[None, :, None].expand(1, video.shape[1], queries.shape[1])


def test_cotracker_runs_from_torchscript(tmp_path: Path) -> None:
    torch.jit.script(Mover()).save(str(tmp_path / "m.ts"))
    tracks = CoTracker(tmp_path / "m.ts", group=7)(shifted_frames(6, 40, 60), interval=3, grid=4)
    assert tracks.xy.shape == (6, 32, 2) and sorted(set(tracks.init_frames)) == [0, 3]
    assert np.array_equal(tracks.xy[5] - tracks.xy[4], np.tile(np.float32([2, 1]), (32, 1)))
    assert not tracks.visible[1::2].any() and tracks.visible[0, 0]
    assert not tracks.visible[4][tracks.xy[4, :, 0] > 59].any()


def test_cotracker_runs_from_a_checkpoint_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cotracker").mkdir()
    (tmp_path / "cotracker/__init__.py").touch()
    (tmp_path / "cotracker/predictor.py").write_text(
        "import torch\n"
        "class CoTrackerPredictor(torch.nn.Module):\n"
        "    def __init__(self, checkpoint):\n"
        "        super().__init__()\n"
        "        self.step = torch.load(checkpoint, weights_only=True)['step']\n"
        "    def forward(self, video, queries, backward_tracking=False):\n"
        "        assert backward_tracking\n"
        "        xy = queries[:, None, :, 1:].expand(1, video.shape[1], -1, 2) + self.step\n"
        "        return xy, torch.ones(xy.shape[:3], dtype=torch.bool)\n"
    )
    torch.save({"step": torch.tensor(0.25)}, tmp_path / "c.pth")
    with pytest.raises(StageError, match="needs the package `cotracker`"):
        CoTracker(tmp_path / "c.pth")
    monkeypatch.syspath_prepend(tmp_path)
    tracks = CoTracker(tmp_path / "c.pth")(shifted_frames(3, 40, 60), interval=5, grid=2)
    assert tracks.xy[2].tolist() == [[14.75, 9.75], [44.75, 9.75], [14.75, 29.75], [44.75, 29.75]]
    assert tracks.visible.all() and (tracks.confidence == 1).all()


def test_the_grid_is_even_and_inside() -> None:
    queries = grid_queries(10, 20, 40, interval=4, grid=2)
    assert queries.tolist()[:4] == [[0, 9.5, 4.5], [0, 29.5, 4.5], [0, 9.5, 14.5], [0, 29.5, 14.5]]
    assert queries[:, 0].tolist() == [0] * 4 + [4] * 4 + [8] * 4
