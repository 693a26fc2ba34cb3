"""`.splat4d` files as the program of splats4d 0.1.0 reads them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from splat_scenes import swarm

from dyn3d_ns.export.splat4d import PROGRAM, find_program, splat_rows, write_splat4d
from dyn3d_ns.io.errors import CommandError


def test_every_frame_is_read_within_the_bound(tmp_path: Path) -> None:
    sequence, path = swarm(), tmp_path / "a.splat4d"
    written = write_splat4d(sequence, path, max_error=0.005)
    assert "no view-dependent colour" in written.loss
    for frame in (0, 7, 11):
        subprocess.run(
            [find_program(), "decode", path, "--frame", str(frame), "-o", tmp_path / "f.splat"],
            check=True,
            capture_output=True,
        )
        rows = np.fromfile(tmp_path / "f.splat", np.uint8).reshape(-1, 32)
        floats = rows[:, :24].copy().view("<f4")
        truth = sequence.at(frame)
        distances = np.abs(floats[:, None, :3] - truth.means[None]).max(2)
        found, wanted = linear_sum_assignment(distances)
        assert len(found) == len(truth) and distances[found, wanted].max() <= 0.005 * 1.001
        np.testing.assert_allclose(floats[found, 3:], truth.scales[wanted], rtol=0.011)
        color = np.clip(0.5 + 0.28209479 * truth.sh[wanted, 0], 0, 1)
        assert np.abs(rows[found, 24:27] / 255 - color).max() <= 2.6 / 255
        assert np.abs(rows[found, 27] / 255 - truth.opacities[wanted]).max() <= 2.6 / 255
        turned = (rows[found, 28:].astype(float) - 128) / 128
        assert np.abs(np.abs((turned * truth.quats[wanted]).sum(1)) - 1).max() < 0.02


def test_a_bound_that_floats_do_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="could not pack .*a.splat4d: Error: .*give a larger --max-error"):
        write_splat4d(swarm(), tmp_path / "a.splat4d", max_error=1e-12)
    assert not list(tmp_path.iterdir())


def test_rows_are_rounded_and_clipped() -> None:
    splats = swarm(count=3).at(0)
    splats.quats[0] = 1, 0, 0, 0
    splats.sh[0, 0] = 10, -10, 0
    row = splat_rows(splats)[0]
    assert row[24:27].tolist() == [255, 0, 128] and row[28:].tolist() == [255, 128, 128, 128]


def test_without_the_program_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None if name == PROGRAM else name)
    with pytest.raises(CommandError, match=r"pip install 'dyn3d-ns\[splat4d\]'"):
        write_splat4d(swarm(), tmp_path / "a.splat4d")
