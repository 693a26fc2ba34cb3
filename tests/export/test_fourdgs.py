"""`.4dgs` files as fourdgs 0.6.0 reads them.

What the exporter depends on: a record is valid from win_lo up to, but not with, win_hi; sigma_t = inf never
fades; times of records are rounded to a grid; coefficients are bytes over -4..4, all of red first.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from splat_scenes import FPS, angles, swarm

from dyn3d_ns.export.fourdgs import write_4dgs
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import StoredSequence

fourdgs = pytest.importorskip("fourdgs", reason="needs the extra `4dgs`")
from fourdgs.validate import validate  # noqa: E402

BOUND = 0.02


def shown(scene, second: float) -> dict[str, np.ndarray]:
    """Return what a reader shows at a time."""
    state = scene.state_at(second)
    chosen = state["indices"]
    gaussians = scene.gaussians
    return {
        "means": state["centers"],
        "quats": state["orientations"][:, [3, 0, 1, 2]],
        "scales": gaussians.scales[chosen],
        "opacities": state["opacity"],
        "colors": gaussians.colors[chosen, :3],
        "sh": gaussians.sh[chosen],
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("4dgs") / "a.4dgs"
    found = write_4dgs(swarm(), path, max_error=BOUND)
    return path, found, fourdgs.read(path)


def test_any_time_is_read_within_the_bound(written) -> None:
    sequence, scene = swarm(), written[2]
    random = np.random.default_rng(0)
    for second in [*random.uniform(0, 11 / FPS, 100), 0.0, 11 / FPS]:
        frame = min(int(second * FPS), 10)
        part = second * FPS - frame
        before, after = sequence.at(frame), sequence.at(frame + 1)
        means = (1 - part) * before.means + part * after.means
        found = shown(scene, second)
        distances = np.linalg.norm(found["means"][:, None] - means[None], axis=2)
        rows, columns = linear_sum_assignment(distances)
        assert len(rows) == len(means) == len(found["means"])
        assert distances[rows, columns].max() <= BOUND
        largest = before.scales[columns].max(1)
        near = np.minimum(*(angles(found["quats"][rows], x.quats[columns]) for x in (before, after)))
        assert (near * largest).max() <= BOUND
        np.testing.assert_allclose(found["scales"][rows], before.scales[columns], rtol=0.03)
        np.testing.assert_allclose(found["opacities"][rows], before.opacities[columns], atol=0.01)
        base = np.clip(0.5 + 0.28209479 * (before.sh + part * (after.sh - before.sh))[columns, 0], 0, 1)
        assert (np.abs(found["colors"][rows] - base).max(1) * before.opacities[columns]).max() < 0.025
        rest = found["sh"][rows].reshape(-1, 3, 3).transpose(0, 2, 1) / 255 * 8 - 4
        assert np.abs(rest - before.sh[columns, 1:]).max() < 0.017


def test_what_rests_is_one_record_and_what_moves_no_more_than_needed(written) -> None:
    gaussians, sequence = written[2].gaussians, swarm()
    whole = (gaussians.win_lo == 0) & (gaussians.win_hi >= 12 / FPS - 1e-9)
    assert whole.sum() >= (~sequence.moving).sum()
    records = gaussians.count - (~sequence.moving).sum()
    assert records < 0.8 * 11 * sequence.moving.sum(), "stretches are longer than a frame"


def test_its_own_validator_passes_and_the_header_tells_of_the_scene(written) -> None:
    path, found, scene = written
    report = validate(path.read_bytes())
    assert report.ok, report
    said = scene.header.attributes
    assert said["coordinate_system"] == "y-up-right-handed" and said["method"] == "dyn3d-test"
    assert float(said["max_error"]) == BOUND
    assert scene.duration_sec == pytest.approx(12 / FPS)
    assert f"asked for {BOUND:g}" in found.loss and not found.note


def test_a_finer_bound_takes_more_records(written, tmp_path: Path) -> None:
    write_4dgs(swarm(), tmp_path / "fine.4dgs", max_error=BOUND / 4)
    assert fourdgs.read(tmp_path / "fine.4dgs").gaussians.count > written[2].gaussians.count


def test_stretches_that_all_begin_at_once_are_as_fine_as_others(tmp_path: Path) -> None:
    """Two Gaussians turn too far for one record between any two frames."""
    sequence = swarm(count=2)
    written = write_4dgs(sequence, tmp_path / "a.4dgs")
    scene = fourdgs.read(tmp_path / "a.4dgs")
    bound = float(scene.header.attributes["max_error"])
    assert not written.note and bound < 0.005
    for frame in range(12):
        found, truth = shown(scene, frame / FPS)["means"], sequence.at(frame).means
        assert np.linalg.norm(found[:, None] - truth[None], axis=2).min(0).max() <= bound


def test_a_bound_below_the_steps_of_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--max-error 1e-06 is finer than .4dgs holds this scene"):
        write_4dgs(swarm(), tmp_path / "a.4dgs", max_error=1e-6)
    assert not list(tmp_path.iterdir())


def test_one_instant(tmp_path: Path) -> None:
    sequence = swarm()
    write_4dgs(StoredSequence([sequence.at(2)], [0.1], sequence.about), tmp_path / "a.4dgs")
    scene = fourdgs.read(tmp_path / "a.4dgs")
    assert scene.gaussians.count == 120 and len(scene.state_at(0.0)["indices"]) == 120


def test_what_appears_at_once_is_there_at_its_frame_and_not_before(tmp_path: Path) -> None:
    """Frames of unrelated Gaussians, made equal in number by transparent ones."""
    sequence = swarm(count=30, frames=3)
    shown = [np.arange(30) < count for count in (12, 30, 20)]
    instants = [
        replace(sequence.at(0), opacities=np.where(chosen, 0.8, 0).astype(np.float32)) for chosen in shown
    ]
    irregular = StoredSequence(instants, [0.0, 0.2, 0.5], sequence.about)
    written = write_4dgs(irregular, tmp_path / "a.4dgs", max_error=BOUND)
    scene = fourdgs.read(tmp_path / "a.4dgs")
    assert (scene.gaussians.win_lo < scene.gaussians.win_hi).all()
    for second, count in ((0.0, 12), (0.1, 12), (0.2, 30), (0.3, 30), (0.5, 20)):
        state = scene.state_at(second)
        assert len(state["indices"]) == 30 and (state["opacity"] > 0.5).sum() == count
    assert not written.note
