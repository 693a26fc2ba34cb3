"""The file of `dyn3d export web`: its columns, its policy, and whether its code is that of web/."""

from __future__ import annotations

import base64
import filecmp
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import web_scenes as ws
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dyn3d_ns.export.keys import extent_of
from dyn3d_ns.export.web import write_page
from dyn3d_ns.export.web_columns import Columns, morton_order, near_upright, product
from dyn3d_ns.export.web_scene import FINE, pack_carried, pack_sequence

ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "dyn3d_ns/export/web_page"


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_columns_come_back_within_half_a_step(bits: int, along: bool) -> None:
    values = np.random.default_rng(bits).normal(size=(50, 3)) * [1, 100, 0] + [0, 5000, 7]
    columns = Columns()
    columns.add("first", values, bits, along)
    columns.add_floats("second", values[:, :2])
    columns.add("none", np.zeros((0, 2)), bits, along)
    found = ws.read_columns(columns)
    step = np.maximum(np.ptp(values, axis=0), 1e-9) / (2**bits - 1)
    assert (np.abs(found["first"] - values) <= 0.5001 * step + 1e-9).all()
    np.testing.assert_allclose(found["second"], values[:, :2], rtol=1e-6)
    assert found["none"].shape == (0, 2)


def covariances(quats: np.ndarray, scales: np.ndarray) -> np.ndarray:
    axes = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix() * scales[:, None]
    return axes @ axes.transpose(0, 2, 1)


def test_axes_named_anew_leave_the_shapes_as_they_are() -> None:
    random = np.random.default_rng(0)
    quats = random.normal(size=(3000, 4))
    quats = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)
    scales = random.uniform(0.1, 3.0, (3000, 3))
    upright, axes, turns = near_upright(quats)
    # The largest turn that no quarter turn makes smaller is 62.8 degrees.
    assert upright[:, 0].min() > np.cos(np.radians(62.81 / 2))
    named = np.take_along_axis(scales, axes, 1)
    np.testing.assert_allclose(covariances(upright, named), covariances(quats, scales), atol=1e-5)
    other = product(np.array([np.sqrt(0.5), 0.5, 0.5, 0.0]), quats.astype(np.float64))
    np.testing.assert_allclose(
        covariances(product(other, turns), named), covariances(other, scales), atol=1e-5
    )


@pytest.mark.parametrize(("largest", "bits"), [(0.01, 8), (1.0, 16), (100.0, 24), (1e6, 24)])
def test_columns_within_an_error_take_as_many_bytes_as_they_need(largest: float, bits: int) -> None:
    values = largest * np.random.default_rng(0).uniform(-1, 1, (50, 3))
    values[7] = 0
    columns = Columns()
    columns.add_within("values", values, 1e-4)
    columns.add_within("none", values[:0], 1e-4)
    found = ws.read_columns(columns)
    assert np.abs(found["values"] - values).max() <= max(1e-4, largest / 2**23) * 1.001
    assert (np.abs(found["values"][7]) < 1e-9 * largest).all(), "nothing stays nothing"
    assert [column["bits"] for column in columns.described] == [bits, 8]


def test_the_order_keeps_neighbours_together() -> None:
    points = np.random.default_rng(0).uniform(size=(2000, 3)).astype(np.float32)
    order = morton_order(points)
    assert sorted(order) == list(range(2000))

    def mean_step(of: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(of, axis=0), axis=1).mean())

    assert mean_step(points[order]) < 0.2 * mean_step(points)


def as_the_page_moves(found: dict[str, np.ndarray], motion: dict, moving: int, time: float) -> np.ndarray:
    """Return the centres of what moves, in float64 by the formulas of web/src/carried.ts."""
    times = found["times"][:, 0]
    width, time = 7 + motion["latents"], min(max(time, times[0]), times[-1])
    spline = CubicHermiteSpline(
        times,
        found["motions"].reshape(motion["motions"], len(times), width),
        found["rates"].reshape(motion["motions"], len(times), width),
        axis=1,
    )
    now = spline(time)
    poses = Rotation.from_quat(now[:, [1, 2, 3, 0]]).as_matrix()
    rows = np.concatenate([poses.reshape(len(now), 9), now[:, 4:]], axis=1)
    codes = np.eye(len(now))[found["bodies"][:, 0].astype(int)] if motion["bodies"] else found["weights"]
    mixed = codes / codes.sum(1, keepdims=True) @ rows
    bends = np.stack([found[f"bend{j}"] for j in range(motion["latents"])], axis=1)
    points = found["means"][:moving] + np.einsum("nl,nlc->nc", mixed[:, 12:], bends)
    return np.einsum("nij,nj->ni", mixed[:, :9].reshape(-1, 3, 3), points) + mixed[:, 9:12]


@pytest.mark.parametrize("bodies", [False, True])
def test_a_carried_scene_is_written_once(bodies: bool) -> None:
    """What moves comes first and has weights, or a body; from that every moment follows."""
    scene = ws.carried_scene(bodies)
    packed = pack_carried(scene, ws.TIMELINE)
    found, motion = ws.read_columns(packed.columns), packed.motion
    rests = scene.resting | (scene.codes()[:, 0] == 1)
    assert packed.moving == int((~rests).sum()) == len(found["bodies" if bodies else "weights"])
    assert ("weights" in found) != bodies and motion["bodies"] == bodies
    assert motion["motions"] == (3 if bodies else 5), "rest and a body without Gaussians are left out"
    assert motion["latents"] == 5, "what bends too little to be seen is left out"
    assert len(found["means"]) == packed.count == ws.COUNT
    resting = scene.params["means"][rests].detach().numpy()
    distances = np.abs(found["means"][packed.moving :, None] - resting[None]).max(2).min(1)
    assert distances.max() < 1e-6
    assert packed.end == pytest.approx(1.25 * ws.TIMELINE.duration)
    assert not any(name.endswith("Over") for name in found)
    canonical = scene.params["means"][~rests].detach().numpy()
    # Codes may mix: twice what each of the latent motions may be off.
    bound = 2 * FINE * extent_of(scene.params["means"].detach().numpy()) * motion["latents"]
    order = KDTree(canonical).query(found["means"][: packed.moving])[1]
    for time in (0.0, 0.31, ws.OBSERVED, 0.83, 1.0, 1.17, 1.25):
        with torch.no_grad():
            truth = scene.at(time).means[~rests].numpy()[order]
        shown = as_the_page_moves(found, motion, packed.moving, time)
        assert np.abs(shown - truth).max() < bound < 0.03, time
        assert np.abs(found["means"][: packed.moving] - truth).max() > 0.1


def test_what_is_not_foretold_stays_as_it_last_was() -> None:
    scene = ws.carried_scene(True)
    scene.motions.future = scene.motions.future[:0]
    packed = pack_carried(scene, ws.TIMELINE)
    times = ws.read_columns(packed.columns)["times"][:, 0]
    assert times[-1] == pytest.approx(ws.OBSERVED) and packed.end > ws.TIMELINE.seconds(ws.OBSERVED)


def test_a_scene_that_rests_is_written_as_such() -> None:
    scene = ws.carried_scene(True)
    scene.resting[:] = True
    packed = pack_carried(scene, ws.TIMELINE)
    assert packed.moving == 0 and packed.motion["motions"] == packed.motion["latents"] == 0


def test_a_sequence_that_rests_has_no_frames() -> None:
    from dyn3d_ns.io.splats import StoredSequence

    sequence = ws.sequence()
    still = StoredSequence([sequence.at(0)] * 3, (0.0, 1.0, 2.0), sequence.about)
    packed = pack_sequence(still)
    assert (packed.moving, packed.motion["kind"], packed.end) == (0, "rest", 2.0)
    assert pack_sequence(sequence).moving == ws.COUNT // 3


class Tags(html.parser.HTMLParser):
    """Attributes by tag, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self.inside = True

    def handle_endtag(self, tag) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.texts and self.inside:
            self.texts[-1] += data


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    """Its policy names the hash of each script that may run; text of a scene stays text."""
    path = tmp_path / "page.html"
    title = "</script><script>alert(1)</script> 100% <!--"
    written = write_page(path, pack_carried(ws.carried_scene(), ws.TIMELINE), ws.page(title))
    tags = Tags()
    tags.feed(path.read_text())
    by_id = {
        attrs["id"]: text for (_, attrs), text in zip(tags.tags, tags.texts, strict=True) if "id" in attrs
    }
    header = json.loads(by_id["scene-header"])
    assert header["title"] == title and header["count"] == ws.COUNT
    assert written.size == path.stat().st_size
    size = (len(by_id["scene-data"]) + len(by_id["scene-header"])) / 1e6
    assert written.note.startswith(f"{size:.2f} MB of the page are the scene")
    assert [text for (tag, _), text in zip(tags.tags, tags.texts, strict=True) if tag == "title"] == [title]
    policy = next(a["content"] for tag, a in tags.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe-inline" not in policy
    code = zlib.decompress(base64.b64decode(by_id["code"]))
    assert code == (PARTS / "page.js").read_bytes()
    runs = [
        text.encode()
        for (tag, a), text in zip(tags.tags, tags.texts, strict=True)
        if a.get("type") == "module"
    ]
    for script in (*runs, code):
        assert base64.b64encode(hashlib.sha256(script).digest()).decode() in policy
    assert len(runs) == 1
    for _, attrs in tags.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
    assert all(
        word in by_id["licences"]
        for word in ("three 0.", "@sparkjsdev/spark 2.", "MIT License", "Permission")
    )


@pytest.mark.long
def test_the_code_is_that_of_its_sources(tmp_path: Path) -> None:
    """Built again from web/ by its lock file, it is the same, byte by byte."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH: install Node.js 20 or later")
    work = tmp_path / "web"
    shutil.copytree(ROOT / "web", work, ignore=shutil.ignore_patterns("node_modules"))
    fetched = subprocess.run(["npm", "ci"], cwd=work, capture_output=True, text=True, check=False)
    if fetched.returncode and re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT", fetched.stderr):
        pytest.skip("npm reaches no registry: run it with the network")
    assert fetched.returncode == 0, fetched.stderr
    for command in (["npm", "run", "check"], ["npm", "run", "build", "--", str(tmp_path / "built")]):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.name for path in PARTS.iterdir())
    assert sorted(path.name for path in (tmp_path / "built").iterdir()) == names
    _, different, missing = filecmp.cmpfiles(PARTS, tmp_path / "built", names, shallow=False)
    assert not different and not missing, "run `npm ci && npm run build` in web/"
