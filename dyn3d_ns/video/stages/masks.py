"""The stage `masks`: which pixels move by themselves, as objects that keep their ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dyn3d_ns.video.errors import StageError
from dyn3d_ns.video.masks.settings import MotionSettings
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Int32

_LARGE = 0.6


@dataclass(frozen=True)
class MasksSettings(MotionSettings):
    """What moves: found from the flow, or given."""

    masks: Path | None = None
    """Masks of your own instead: a folder with a .png or .npy a frame (instance ids, or 0 and 255)."""
    pictures: bool = True
    """Write overlays and videos into segmentation/ as well."""


class MasksStage(Stage):
    """Writes motion/, segmentation/ and qwen/Annotations/."""

    name = "masks"
    needs = ("frames", "flow")
    settings: MasksSettings

    def external_inputs(self) -> list[Path]:
        """Return the user's masks."""
        return [self.settings.masks] if self.settings.masks is not None else []

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the ids of every frame and their names."""
        labels = [workspace.label_path(i) for i in range(workspace.num_frames)]
        return [*labels, workspace.instance_labels_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Find or read the masks and write them."""
        if self.settings.masks is not None:
            labels, names = self._given(workspace)
        else:
            labels, names = self._found(workspace, report)
        self._write(workspace, report, labels, names)

    def _given(self, workspace: Workspace) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.given import read_given

        assert self.settings.masks is not None
        clip = workspace.clip()
        frames, codes = read_given(self.settings.masks, workspace.num_frames, clip.width, clip.height)
        return frames, [f"object {k}" for k in range(1, len(codes) + 1)]

    def _found(
        self, workspace: Workspace, report: Report
    ) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.instances import Linker, final_ids
        from dyn3d_ns.video.masks.motion import (
            NeighbourFlows,
            backward_votes,
            label_frames,
            renumber,
            score_frame,
        )

        settings, count = self.settings, workspace.num_frames
        if count < 2:
            report.note("one frame shows no motion: the masks are empty")
            height, width = workspace.image(0).shape[:2]
            return [np.zeros((height, width), np.int32)], []
        flows = NeighbourFlows(workspace, count)
        kinds: Counter[str] = Counter()
        for i in report.track(range(count), "motion scores"):
            scores, pairs = score_frame(flows.around(i, settings.span))
            kinds.update(pair.kind for pair in pairs)
            workspace.write_motion(i, scores.average)
            workspace.write_motion(i, scores.maximum, "dyna_max")
            workspace.write_motion(i, scores.evidence, "evidence")
        with report.progress(count, "votes along the flow") as step:
            backward_votes(workspace, flows, settings.memory, step)
        linker = Linker(settings.gap)
        with report.progress(count, "outlines and objects") as step:
            label_frames(workspace, flows, linker, settings, step)
        for i in range(count):
            workspace.motion_path(i, "later").unlink()
        workspace.motion_path(0, "later").parent.rmdir()
        fewest = min(settings.min_frames, max(2, count // 4))
        ids = final_ids(linker, fewest, settings.min_evidence, settings.min_share)
        found = max(ids.values(), default=0)
        self._tell(report, kinds, found)
        return (renumber(workspace.labels(i), ids) for i in range(count)), [
            f"moving object {k}" for k in range(1, found + 1)
        ]

    def _tell(self, report: Report, kinds: Counter[str], found: int) -> None:
        if kinds["still"] > 0.5 * kinds.total():
            report.note("the camera hardly moves: whatever flows counts as moving")
        elif kinds["planar"] > 0.5 * kinds.total():
            report.note(
                "one plane or a turning camera explains most pairs of frames (homography, not epipolar)"
            )
        if not found:
            report.note("nothing was found to move by itself: the masks are empty")

    def _write(
        self,
        workspace: Workspace,
        report: Report,
        labels: Iterable[Int32[np.ndarray, "H W"]],
        names: list[str],
    ) -> None:
        from dyn3d_ns.video.masks.pictures import SegmentationWriter

        count = workspace.num_frames
        height, width = workspace.image(0).shape[:2]
        full = frames = 0
        with (
            SegmentationWriter(workspace, names, workspace.clip().fps, self.settings.pictures) as writer,
            report.progress(count, "pictures of the masks") as step,
        ):
            for i, ids in enumerate(labels):
                if ids.shape != (height, width):
                    raise StageError(f"the mask of frame {i} is {ids.shape}, the frame {(height, width)}")
                workspace.write_labels(i, ids)
                writer.write(i, workspace.image(i), ids)
                full += float((ids > 0).mean()) > _LARGE
                frames += 1
                step()
        if frames != count:
            raise StageError(f"got masks of {frames} frames, but the clip has {count}")
        if full > 0.1 * count:
            report.note(
                f"more than {_LARGE:.0%} of the picture counts as moving in {full} of {count} frames; "
                "cameras found from the rest may be wrong: give masks of your own with --masks.masks"
            )
