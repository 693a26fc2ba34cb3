"""Scenes of dataparsers that know nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from scene_files import write_image

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.data.described import described
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.scene_metadata import scene_of


@dataclass
class StrangerConfig(DataParserConfig):
    """Two cameras; one is held out."""

    _target: type = field(default_factory=lambda: Stranger)
    times: tuple[float, ...] | None = (0.0, 0.5, 1.0)
    mode: str = "RGB"
    kind: CameraType = CameraType.PERSPECTIVE
    lens: float = 0.0


class Stranger(DataParser):
    """A dataparser like Nerfstudio's own."""

    config: StrangerConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        c = self.config
        times = (c.times or (0.0, 0.0))[: 2 if split == "train" else None]
        paths = [c.data / split / f"{i}.png" for i in range(len(times))]
        for path in paths:
            write_image(path, mode=c.mode)
        pose = torch.eye(4)[:3]
        pose[0, 3] = float(split == "train")
        return DataparserOutputs(
            image_filenames=paths,
            cameras=Cameras(
                pose.repeat(len(times), 1, 1), 20.0, 20.0, 8.0, 6.0, 16, 12,
                camera_type=c.kind,
                times=None if c.times is None else torch.tensor(times),
                distortion_params=torch.tensor([c.lens, 0, 0, 0, 0, 0]).repeat(len(times), 1),
            ),
            scene_box=SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
        )  # fmt: skip


def test_times_of_its_cameras_make_a_timeline(tmp_path: Path) -> None:
    parser = StrangerConfig(data=tmp_path).setup()
    train, test = scene_of(described(parser, "train").metadata), scene_of(described(parser, "test").metadata)
    assert train.timeline == test.timeline
    assert train.timeline.frame_times == (0.0, 0.5, 1.0) and train.timeline.t_obs == 0.5
    assert train.splits == ["train", "train"] and test.splits == ["interp", "interp", "future"]
    assert set(train.camera_ids.tolist()).isdisjoint(test.camera_ids.tolist())
    assert not train.has_alpha
    assert scene_of(described(StrangerConfig(data=tmp_path, mode="RGBA").setup(), "test").metadata).has_alpha


def test_frame_numbers_are_brought_to_0_to_1(tmp_path: Path) -> None:
    found = described(StrangerConfig(data=tmp_path, times=(10.0, 20.0, 30.0)).setup(), "test")
    assert found.cameras.times is not None and found.cameras.times.flatten().tolist() == [0.0, 0.5, 1.0]
    assert scene_of(found.metadata).timeline.t_obs == 0.5


def test_cameras_without_times_show_one_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = described(StrangerConfig(data=tmp_path, times=None).setup(), "train")
    assert scene_of(found.metadata).timeline.frame_times == (0.0,)
    assert found.cameras.times is not None and found.cameras.times.tolist() == [[0.0], [0.0]]
    assert "gives its images no times" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": CameraType.FISHEYE}, "Stranger gives fisheye cameras"),
        ({"lens": -0.1}, "lenses distort.*video-data"),
        ({"times": (0.0, float("nan"), 1.0)}, "gives image 1 a time that is no number"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        described(StrangerConfig(data=tmp_path, **changes).setup(), "train")


def test_what_a_stranger_fails_at_is_one_sentence(tmp_path: Path) -> None:
    from nerfstudio.data.dataparsers.dnerf_dataparser import DNeRFDataParserConfig

    (tmp_path / "transforms_train.json").write_text('{"frames": [{"file_path": "a"}]}')
    parser = DNeRFDataParserConfig(data=tmp_path)
    with pytest.raises(DatasetError, match=r"DNeRF cannot read .*\(no 'transform_matrix'\).*sintel-data"):
        DynamicDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="val")  # type: ignore[arg-type]
