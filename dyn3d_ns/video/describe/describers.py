"""Describers: from the measured motion alone, or with a vision-language server."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.describe.client import ChatClient, ServerError
from dyn3d_ns.video.describe.instances import InstanceTrack, measure_instances
from dyn3d_ns.video.describe.words import camera_caption, object_caption
from dyn3d_ns.video.parts import Configured, Description
from dyn3d_ns.video.stage import Report

MAX_PICTURES = 25
"""Keyframes that one question shows, at most."""

NAMES_PROMPT = """These are frames of one video in the order of time; they were picked because much moves
in them. Compare them and list everything that moves by itself, is carried, or is handled. Name the whole
thing even if only a part of it moves, every instance on its own, as adjective and noun ("tall person").
There is at least one. Answer with JSON alone:
{"dynamic": ["name", ...], "reasoning": {"name": "one sentence on how it looks and what it holds"}}"""
OBJECT_PROMPT = """The first picture shows a frame of a video with one object outlined in red, the second
shows that object alone. What is it, and what does it do? Answer with JSON alone:
{"name": "adjective and noun", "description": "one sentence on how it looks and what it does"}"""
SCENE_PROMPT = """These are frames of one video in the order of time. Describe the scene in one paragraph of
about 100 words: the place, the main and the lesser objects, where they are to each other, and how they
move."""


class MeasuredDescriber:
    """Names objects "moving object k" and tells their measured size, direction and speed."""

    def __call__(self, workspace: Workspace, report: Report) -> Description:
        """Describe the clip from masks, depth and cameras, as far as they exist."""
        clip = workspace.clip()
        tracks = measure_instances(workspace, report) if workspace.has_masks() else {}
        view = None
        if workspace.cameras_path.is_file():
            view = workspace.cameras().camera_to_worlds[0, :3, :3]
        names = {key: f"moving object {key}" for key in sorted(tracks)}
        captions = {key: object_caption(names[key], tracks[key], clip.fps, clip.width, view) for key in names}
        camera = _camera(workspace)
        objects = " ".join(text[0].upper() + text[1:] for text in captions.values())
        return Description(
            dynamic=list(names.values()),
            reasoning={names[key]: captions[key] for key in names},
            instance_names=names,
            instance_captions=captions,
            scene_caption=" ".join(filter(None, [objects or "Nothing moves by itself.", camera])),
            camera_caption=camera,
        )


class ServerDescriber(Configured):
    """Asks a vision-language server; what it does not answer stays as measured, and the summary says so."""

    def __init__(self, client: ChatClient) -> None:
        self.client = client

    @classmethod
    def from_settings(cls, settings: Any) -> ServerDescriber:
        """Build it from the settings of the stage `describe`."""
        return cls(
            ChatClient(
                settings.vlm_base_url, settings.vlm_model, settings.vlm_api_key_env, settings.vlm_timeout
            )
        )

    def __call__(self, workspace: Workspace, report: Report) -> Description:
        """Describe the clip."""
        found = MeasuredDescriber()(workspace, report)
        try:
            pictures = _key_pictures(workspace)
            self._name(found, pictures)
            self._name_instances(found, workspace, report)
            found.scene_caption = self.client.ask(SCENE_PROMPT, pictures).strip()
            found.model = self.client.model
        except ServerError as error:
            report.note(f"{error}; names and captions that it did not give are from the measured motion")
        return found

    def _name(self, found: Description, pictures: list[np.ndarray]) -> None:
        answer = self.client.ask_json(NAMES_PROMPT, pictures)
        names = answer.get("dynamic")
        reasons = answer.get("reasoning")
        if not isinstance(names, list) or not isinstance(reasons, dict):
            raise ServerError(f"{self.client.model!r} answered without `dynamic` and `reasoning`")
        found.dynamic = [str(name) for name in names]
        found.reasoning = {str(name): str(text) for name, text in reasons.items()}

    def _name_instances(self, found: Description, workspace: Workspace, report: Report) -> None:
        if not found.instance_names:
            return
        tracks = measure_instances(workspace, report)
        for key, track in tracks.items():
            answer = self.client.ask_json(OBJECT_PROMPT, _show(workspace, key, track))
            name, text = answer.get("name"), answer.get("description")
            if not isinstance(name, str) or not name.strip():
                raise ServerError(f"{self.client.model!r} gave no name for object {key}")
            found.instance_names[key] = name.strip()
            measured = found.instance_captions[key].partition(": ")[2]
            found.instance_captions[key] = f"{str(text or name).strip()} ({measured})"


def _camera(workspace: Workspace) -> str:
    if not workspace.cameras_path.is_file():
        return ""
    depth = None
    if workspace.has_depth():
        first = workspace.depth(0)
        depth = float(np.median(first[first > 0])) if (first > 0).any() else None
    return camera_caption(workspace.cameras().camera_to_worlds, depth)


def _key_pictures(workspace: Workspace) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return the keyframes (evenly spaced frames where none were chosen), thinned to `MAX_PICTURES`."""
    count = workspace.num_frames
    chosen = workspace.keyframes() if workspace.keyframe_info_path.is_file() else list(range(count))
    picks = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_PICTURES)).round().astype(int))
    return [workspace.image(chosen[k]) for k in picks]


def _show(workspace: Workspace, key: int, track: InstanceTrack) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return the frame with the object outlined, and the object cut out on grey."""
    import cv2

    i = track.best_frame
    image: UInt8[np.ndarray, "H W 3"] = workspace.image(i)
    where: Bool[np.ndarray, "H W"] = workspace.labels(i) == key
    thick = max(3, image.shape[1] // 160) | 1
    grown = cv2.dilate(where.astype(np.uint8), np.ones((thick, thick), np.uint8)) > 0
    outlined = np.where((grown & ~where)[..., None], np.array([255, 0, 0], np.uint8), image)
    ys, xs = np.nonzero(where)
    alone = np.where(where[..., None], image, np.uint8(128))
    return [outlined, alone[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]]
