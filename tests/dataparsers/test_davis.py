"""DAVIS as a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage_files import moving, write_davis

from dyn3d_ns.dataparsers.davis import DavisDataParserConfig
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.davis import DavisFootage
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.io.sequences import find_davis
from tests.video.cards import CardClip


def test_a_sequence(tmp_path: Path) -> None:
    truth = CardClip(frames=8)
    for name in ("cat", "dog"):
        write_davis(tmp_path, truth, name)
    truth.write(tmp_path / "elsewhere")
    settings = {"data": tmp_path, "sequence": "dog", "clip": tmp_path / "elsewhere"}
    outputs = (
        DavisDataParserConfig(**settings, orient=False, auto_scale=False)
        .setup()
        .get_dataparser_outputs("test")
    )
    assert [path.as_posix()[-24:] for path in outputs.image_filenames] == ["Images/480p/dog/00005.jpg"[-24:]]
    assert outputs.cameras.fx.item() == pytest.approx(truth.K[0, 0])
    assert outputs.cameras.cx.item() == pytest.approx(truth.width / 2)
    scene = scene_of(outputs.metadata)
    assert scene.priors.mask_source == "annotations"
    assert scene.true_poses is None
    assert np.array_equal(scene.priors.true_mask(0), moving(truth, 5))
    assert scene.priors.has_true_mask(0)
    none = DavisDataParserConfig(**settings, masks="none").setup().get_dataparser_outputs("train")
    assert not {"dynamic_mask", "motion"} & scene_of(none.metadata).priors.names
    with pytest.raises(DatasetError, match="--sequence: cat, dog"):
        DavisDataParserConfig(data=tmp_path).setup().get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match=f"run `dyn3d process davis:{tmp_path}/cat`"):
        DavisDataParserConfig(data=tmp_path, sequence="cat").setup().get_dataparser_outputs("train")


def test_our_rendered_clip(shared_data: Path, tmp_path: Path) -> None:
    sequence = find_davis(shared_data / "walk")
    CardClip(frames=40, width=68, height=38).write(tmp_path / "clip", "frames cameras")
    footage = DavisFootage(sequence, clip=tmp_path / "clip")
    assert footage.size == (272, 152)
    assert footage.truths == {"dynamic_mask", "clean"}
    moves, difference = (
        footage.true_mask(20),
        np.abs(footage.clean(20).astype(int) - image(footage, 20)).mean(-1),
    )
    assert difference[moves].mean() > 5 * difference[~moves].mean()


def test_somebody_elses_annotations(shared_data: Path) -> None:
    with pytest.raises(DatasetError, match="dyn3d process davis:.*davis/dog`"):
        DavisFootage(find_davis(shared_data / "davis"))


def image(footage: DavisFootage, i: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(footage.frames[i])).astype(int)
