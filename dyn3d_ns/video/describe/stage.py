"""The stage `describe`: names of what moves, and captions of objects, scene and camera."""

from __future__ import annotations

import csv
import io
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dyn3d_ns.io.atomic import write_json, write_text
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.describe.settings import DescribeSettings
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage

if TYPE_CHECKING:
    from dyn3d_ns.video.parts import Description


class DescribeStage(Stage):
    """Writes analysis/ and captions/."""

    name = "describe"
    needs = ("frames",)
    uses = ("flow", "keyframes", "masks", "cameras", "depth", "adjust")
    settings: DescribeSettings

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the names."""
        return [workspace.objects_path, workspace.instance_names_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Describe and write."""
        method = self.settings.method
        if method == "auto":
            method = "server" if self.settings.vlm_base_url else "measured"
        found = make_part("describer", method, self.settings)(workspace, report)
        self._write(workspace, found)

    def _write(self, workspace: Workspace, found: Description) -> None:
        scene = workspace.scene
        objects, names = self.outputs(workspace)
        write_json(objects, {"dynamic": found.dynamic, "reasoning": found.reasoning})
        write_json(names, {str(k): name for k, name in found.instance_names.items()})
        folder = workspace.captions_dir
        table = io.StringIO()
        rows = csv.writer(table)
        rows.writerow(["instance_id", "description"])
        rows.writerows(sorted(found.instance_captions.items()))
        write_text(folder / f"{scene}.csv", table.getvalue())
        metadata = {"scene_name": scene, "model": found.model, "total_frames": workspace.num_frames}
        write_json(
            folder / f"{scene}_scene_caption_analysis.json",
            {"caption": found.scene_caption, "metadata": metadata},
        )
        record = {
            "object_category": found.dynamic,
            "camera_caption": found.camera_caption,
            "object_caption": {str(k): text for k, text in found.instance_captions.items()},
            "scene_caption": found.scene_caption,
        }
        write_json(folder / f"{scene}_record.json", record)
        caption = {
            "sample_id": scene,
            "video_path": str(workspace.rgb_dir.name),
            "question": "How does the camera move?",
            "generated_caption": found.camera_caption,
            "error": None,
        }
        stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime())
        model = re.sub(r"[^\w.-]", "_", found.model)
        write_json(
            folder / f"caption_results_{model}_{stamp}.json",
            # The camera's motion is computed from its poses, whoever describes the rest.
            {"metadata": {**metadata, "model": "measured"}, "captions": [caption]},
        )
