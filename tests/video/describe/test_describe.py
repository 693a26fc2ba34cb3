"""Descriptions from measured motion, and from a vision-language server that the test runs itself."""

from __future__ import annotations

import base64
import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.describe.client import ChatClient, ServerError, find_json
from dyn3d_ns.video.describe.instances import measure_instances
from dyn3d_ns.video.describe.settings import DescribeSettings
from dyn3d_ns.video.describe.stage import DescribeStage
from dyn3d_ns.video.describe.words import camera_caption
from tests.video.cards import CardClip, QuietReport

Answer = Callable[[str], Any]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a chat server; yields its address and the requests that it got.

    `answer` turns the question's text into the reply's; an int is an HTTP status, bytes a raw body.
    """
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            reply = answer(body["messages"][0]["content"][-1]["text"])
            status = reply if isinstance(reply, int) else 200
            content = reply if isinstance(reply, bytes) else b"no"
            if isinstance(reply, str):
                content = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Keep the test's output quiet."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", requests
    finally:
        running.shutdown()
        running.server_close()


def sensible(question: str) -> str:
    if "list everything" in question:
        return (
            'Sure! {"dynamic": ["striped card", "red ball"], "reasoning": {"striped card": "Stripes."}} ok?'
        )
    if "outlined in red" in question:
        return '{"name": "striped card", "description": "A striped card that slides down."}'
    return "A wall with a pillar before it."


@pytest.fixture
def clip(tmp_path: Path) -> Workspace:
    return CardClip(frames=6).write(tmp_path / "cards")


def describe(workspace: Workspace, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    report = QuietReport()
    stage = DescribeStage(DescribeSettings(**settings))
    stage.run(workspace, report)
    assert all(path.is_file() for path in stage.outputs(workspace))
    return json.loads((workspace.root / "captions/cards_record.json").read_text()), report.notes


def test_without_a_server_everything_is_measured(clip: Workspace) -> None:
    record, notes = describe(clip)
    assert not notes
    assert record["object_category"] == ["moving object 1"]
    text = record["object_caption"]["1"]
    assert "medium-sized" in text
    assert "frames 0 to 5" in text
    # 0.01 to the right and 0.05 down a frame, at 10 frames a second.
    assert "moves down at 0.5" in text
    assert "trucks right by 4% of the scene's depth" in record["camera_caption"]
    objects = json.loads((clip.root / "analysis/dynamic_objects_cards.json").read_text())
    assert set(objects) == {"dynamic", "reasoning"}
    rows = list(csv.reader(io.StringIO((clip.root / "captions/cards.csv").read_text())))
    assert rows == [["instance_id", "description"], ["1", text]]
    (results,) = (clip.root / "captions").glob("caption_results_measured_*.json")
    (caption,) = json.loads(results.read_text())["captions"]
    assert caption["generated_caption"] == record["camera_caption"]


def test_without_depth_the_motion_in_the_picture_is_told(tmp_path: Path) -> None:
    clip = CardClip(frames=4, camera_step=(0, 0, 0)).write(tmp_path / "cards", "frames flow masks")
    record, _ = describe(clip)
    assert "moves down in the picture at" in record["object_caption"]["1"]
    assert record["camera_caption"] == ""


def test_without_masks_nothing_is_named(tmp_path: Path) -> None:
    clip = CardClip(frames=3).write(tmp_path / "cards", "frames")
    record, _ = describe(clip)
    assert record["object_category"] == []
    assert record["scene_caption"] == "Nothing moves by itself."


def test_a_server_names_the_objects(clip: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARD_KEY", "sesame")
    with server(sensible) as (url, requests):
        record, notes = describe(clip, vlm_base_url=url, vlm_model="seer", vlm_api_key_env="CARD_KEY")
    assert not notes
    assert record["object_category"] == ["striped card", "red ball"]
    assert record["object_caption"]["1"].startswith("A striped card that slides down. (medium-sized")
    assert record["scene_caption"] == "A wall with a pillar before it."
    assert json.loads((clip.root / "analysis/instance_names.json").read_text()) == {"1": "striped card"}
    assert {r["path"] for r in requests} == {"/v1/chat/completions"}
    assert {r["key"] for r in requests} == {"Bearer sesame"}
    assert {r["model"] for r in requests} == {"seer"}
    pictures = [part for part in requests[0]["messages"][0]["content"] if part["type"] == "image_url"]
    assert len(pictures) == 6
    jpeg = base64.b64decode(pictures[0]["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(jpeg)).size == (128, 96)
    everything = "".join(p.read_text() for p in clip.root.rglob("*.json"))
    assert "sesame" not in everything


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _: 500, "500"),
        (lambda _: 401, "401"),
        (lambda _: "I see a wall.", "answered without JSON"),
        (lambda _: '{"colour": "red"}', "without `dynamic`"),
        (lambda _: b"<html>", "gave no answer"),
        (lambda _: b'{"error": "busy"}', "no choices"),
        (lambda _: b'{"choices": [{"message": {"content": ""}}]}', "empty"),
    ],
)
def test_a_server_that_answers_nonsense_is_a_stated_fallback(
    clip: Workspace, answer: Answer, message: str
) -> None:
    with server(answer) as (url, _):
        record, notes = describe(clip, vlm_base_url=url, vlm_model="seer")
    assert len(notes) == 1
    assert message in notes[0]
    assert record["object_category"] == ["moving object 1"]


def test_a_server_that_is_not_there(clip: Workspace) -> None:
    record, notes = describe(clip, vlm_base_url="http://127.0.0.1:9/v1", vlm_model="seer")
    assert "127.0.0.1:9" in notes[0]
    assert record["object_category"] == ["moving object 1"]


def test_a_server_that_stays_silent_is_given_up(clip: Workspace) -> None:
    silence = threading.Event()
    with server(lambda _: silence.wait(20) and 200) as (url, _):
        client = ChatClient(url, "seer", timeout=0.2, tries=2)
        with pytest.raises(ServerError, match="gave no answer"):
            client.ask("anyone?")
        silence.set()


def test_it_asks_again_after_a_hiccup() -> None:
    replies = iter([503, '{"a": 1}'])
    with server(lambda _: next(replies)) as (url, requests):
        assert ChatClient(url, "seer").ask_json("?") == {"a": 1}
    assert len(requests) == 2


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(StageError, match="go together"):
        DescribeSettings(vlm_model="seer").check()
    with pytest.raises(StageError, match="needs --describe.vlm-base-url"):
        DescribeSettings(method="server").check()
    with pytest.raises(StageError, match="starts with http"):
        ChatClient("localhost:8000", "seer")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": {"b": [1]}}', {"a": {"b": [1]}}),
        ('thinking {not json} then {"a": "} {"} end', {"a": "} {"}),
        ("[1, 2]", None),
        ("{", None),
        ("", None),
    ],
)
def test_find_json(text: str, found: dict | None) -> None:
    assert find_json(text) == found


def turned(axis: int, degrees: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.eye(3)[axis]).as_matrix()
    return pose


@pytest.mark.parametrize(
    ("axis", "degrees", "words"),
    [(1, 20, "pans right by 20°"), (1, -20, "pans left"), (0, 15, "tilts up"), (2, 9, "rolls clockwise")],
)
def test_camera_turns(axis: int, degrees: float, words: str) -> None:
    poses = np.stack([turned(axis, degrees * i / 10) for i in range(11)])
    text = camera_caption(poses, 2.0)
    assert words in text
    assert "trucks" not in text


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ((0.1, 0, 0), "trucks right by 50% of the scene's depth"),
        ((0, -0.1, 0), "moves up"),
        ((0, 0, 0.1), "dollies in"),
        ((0, 0, -0.1), "dollies out"),
        ((0, 0, 0), "stands still"),
    ],
)
def test_camera_travels(step: tuple[float, float, float], words: str) -> None:
    poses = np.tile(np.eye(4), (11, 1, 1))
    poses[:, :3, 3] = np.arange(11)[:, None] * np.array(step)
    assert words in camera_caption(poses, 2.0)


def test_instances_are_measured_in_the_world(clip: Workspace) -> None:
    (track,) = measure_instances(clip, QuietReport()).values()
    assert track.frames == list(range(6))
    steps = np.diff(np.stack(track.positions), axis=0)
    assert steps.mean(0) == pytest.approx([0.01, 0.05, 0], abs=0.01)
