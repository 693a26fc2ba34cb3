"""A segmenter of another package says in its `wants` what it is told of the objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.types import Clip
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.masks.settings import MasksSettings
from dyn3d_ns.video.masks.stage import MasksStage
from tests.video.cards import QuietReport
from tests.video.clips import shifted_frames, write_folder

CODE = """
import numpy as np


class Named:
    wants = "names"

    def __call__(self, images, prompts):
        assert [(p.name, p.box, p.mask) for p in prompts] == [("red dog", None, None)]
        for image in images:
            labels = np.zeros(image.shape[:2], np.int32)
            labels[:9, :9] = 1
            yield labels
"""


def test_a_segmenter_that_wants_names_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_things.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    write_folder(tmp_path / "clip/rgb", shifted_frames(3, 40, 60), "0000{}.png")
    workspace = Workspace(tmp_path / "clip")
    workspace.write_clip(Clip((0.0, 0.1, 0.2), (0, 1, 2), 60, 40, 10.0))
    write_json(tmp_path / "objects.json", {"dynamic": ["red dog"], "reasoning": {}})
    settings = MasksSettings(
        segmenter="named_things:Named", objects=tmp_path / "objects.json", pictures=False
    )
    MasksStage(settings).run(workspace, QuietReport())
    assert workspace.dynamic_mask(2).sum() == 81 and np.unique(workspace.labels(0)).tolist() == [0, 1]
