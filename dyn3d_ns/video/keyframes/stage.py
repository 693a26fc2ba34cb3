"""The stage `keyframes`: the frames with most motion, for those who look at few of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.atomic import write_bytes, write_json
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.keyframes.plots import flow_colors, motion_plot
from dyn3d_ns.video.keyframes.selection import (
    motion_statistics,
    select_keyframes,
    without_camera_motion,
)
from dyn3d_ns.video.keyframes.settings import KeyframesSettings
from dyn3d_ns.video.stage import Report, Stage

_SHORT = {"percentile_75": "p75", "percentile_90": "p90", "percentile_95": "p95"}


class KeyframesStage(Stage):
    """Ranks the frames by flow and writes those that were chosen, with the scores of all."""

    name = "keyframes"
    needs = ("frames", "flow")
    settings: KeyframesSettings

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the list of keyframes and the summary."""
        return [workspace.keyframe_info_path, workspace.keyframes_dir / "motion_analysis.png"]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Score every step, choose, copy."""
        start = time.perf_counter()
        settings = self.settings
        steps = self._score(workspace, report)
        frames = workspace.frames()
        scores = [step[settings.metric] for step in steps]
        selected = select_keyframes(scores, len(frames), settings.ratio, settings.min_gap)
        folder = workspace.keyframes_dir
        names = []
        for k, i in enumerate(selected):
            name = f"{workspace.scene}_high_motion_{k:03d}_frame_{i:04d}{frames[i].suffix.lower()}"
            write_bytes(folder / "rgb" / name, frames[i].read_bytes())
            if settings.create_merged:
                write_bytes(folder / "merged_high_motion_frames" / name, frames[i].read_bytes())
            names.append(name)
        self._pictures(workspace, scores, selected)
        info: dict[str, Any] = {
            "scene": workspace.scene,
            "total_frames": len(frames),
            "flow_model": workspace.flow_model(),
            "metric": settings.metric,
            "ratio": settings.ratio,
            "min_frame_gap": settings.min_gap,
            "compensate_camera": settings.compensate_camera,
            "selected": [
                {"index": i, "file": name, "score": scores[i]}
                for i, name in zip(selected, names, strict=True)
            ],
            "scores": [
                {"from": i, "to": i + 1, **{_SHORT.get(k, k): v for k, v in step.items()}}
                for i, step in enumerate(steps)
            ],
        }
        write_json(workspace.keyframe_info_path, info)
        write_json(folder / "processing_summary.json", self._summary(workspace, info, steps, start))

    def _score(self, workspace: Workspace, report: Report) -> list[dict[str, float]]:
        steps, uncompensated = [], 0
        for i in report.track(range(workspace.num_frames - 1), "scores"):
            field = workspace.flow(i, i + 1)
            flow = field.flow
            if self.settings.compensate_camera:
                rest = without_camera_motion(flow, field.valid)
                uncompensated += rest is None
                flow = flow if rest is None else rest
            steps.append(motion_statistics(flow))
        if uncompensated:
            report.note(
                f"no camera motion could be found in {uncompensated} step(s): there all motion counts"
            )
        return steps

    def _pictures(self, workspace: Workspace, scores: list[float], selected: list[int]) -> None:
        folder = workspace.keyframes_dir
        write_bytes(folder / "motion_analysis.png", motion_plot(scores, selected, self.settings.metric))
        for rank, i in enumerate(sorted(selected, key=lambda k: -scores[k])[:3]):
            picture = np.concatenate((workspace.image(i), flow_colors(workspace.flow(i, i + 1).flow)), axis=1)
            write_bytes(folder / f"flow_vis_top_{rank + 1}_frame_{i:04d}.png", encode_png(picture))

    def _summary(
        self, workspace: Workspace, info: dict[str, Any], steps: list[dict[str, float]], start: float
    ) -> dict[str, Any]:
        """Return DynamicVerse's processing_summary.json for this one scene."""
        seconds = time.perf_counter() - start
        chosen = [entry["index"] for entry in info["selected"]]
        total = info["total_frames"]
        result = {
            "scene_name": workspace.scene,
            "total_frames": total,
            "selected_frames": chosen,
            "target_sample_ratio": self.settings.ratio,
            "actual_sample_ratio": len(chosen) / total,
            "selected_frame_count": len(chosen),
            "motion_scores_summary": {
                "total_pairs": len(steps),
                "avg_motion": float(np.mean([step["mean"] for step in steps])),
                "max_motion": float(np.max([step["percentile_90"] for step in steps])),
            },
            "processing_time_seconds": seconds,
        }
        return {
            "dataset_root": str(workspace.root),
            "output_root": str(workspace.keyframes_dir),
            "flow_model_type": info["flow_model"],
            "processed_scenes": 1,
            "total_processing_time": seconds,
            "average_processing_time": seconds,
            "results": [result],
        }
