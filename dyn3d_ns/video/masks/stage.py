"""The stage `masks`: which pixels move by themselves, as objects that keep their ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.masks.settings import MasksSettings
from dyn3d_ns.video.parts import Segmenter
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Int32

    from dyn3d_ns.video.masks.motion import NeighbourFlows
    from dyn3d_ns.video.masks.prompts import Prompt

_LARGE = 0.6


class MasksStage(Stage):
    """Writes motion/, segmentation/ and qwen/Annotations/."""

    name = "masks"
    needs = ("frames", "flow")
    settings: MasksSettings

    def external_inputs(self) -> list[Path]:
        """Return the user's masks, boxes, names and network."""
        s = self.settings
        given = (s.masks, s.boxes, s.objects, s.segmenter_path, *s.ego.given.files(), s.ego.depth)
        return [path for path in given if path is not None]

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the ids of every frame and their names."""
        labels = [workspace.label_path(i) for i in range(workspace.num_frames)]
        return [*labels, workspace.instance_labels_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Find or read the masks and write them."""
        settings = self.settings
        if settings.masks is not None:
            labels, names = self._given(workspace, report)
        elif settings.segmenter != "motion":
            labels, names = self._by_network(workspace, report)
        elif settings.boxes is not None:
            labels, names = self._followed(workspace, report)
        else:
            labels, names = self._found(workspace, report)
        self._write(workspace, report, labels, names)

    def _given(
        self, workspace: Workspace, report: Report
    ) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.given import read_given

        assert self.settings.masks is not None
        clip = workspace.clip()
        folder, frames = self.settings.masks, workspace.clip_frames()
        frames, codes = read_given(folder, frames, clip.width, clip.height, report.note)
        if clip.lens:
            report.note("masks are expected of the frames in rgb/, in which the lens is undone")
        return frames, [f"object {k}" for k in range(1, len(codes) + 1)]

    def _boxes(self, workspace: Workspace) -> list[Prompt]:
        from dyn3d_ns.video.masks.prompts import read_boxes

        assert self.settings.boxes is not None
        clip = workspace.clip()
        return read_boxes(self.settings.boxes, workspace.num_frames, clip.width, clip.height)

    def _followed(
        self, workspace: Workspace, report: Report
    ) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.follow import follow_prompt, stack_labels
        from dyn3d_ns.video.masks.motion import NeighbourFlows

        prompts, count = self._boxes(workspace), workspace.num_frames
        flows, clip = NeighbourFlows(workspace, count), workspace.clip()
        masks = [
            follow_prompt(workspace.image, flows.next_to, prompt, count)
            for prompt in report.track(prompts, "objects in boxes")
        ]
        shape = (clip.height, clip.width)
        return (stack_labels(masks, i, shape) for i in range(count)), [prompt.name for prompt in prompts]

    def _by_network(
        self, workspace: Workspace, report: Report
    ) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.prompts import read_names

        network: Segmenter = make_part("segmenter", self.settings.segmenter, self.settings)
        if network.wants == "names":
            prompts = read_names(self.settings.objects or workspace.objects_path)
        elif self.settings.boxes is not None:
            prompts = self._boxes(workspace)
        else:
            prompts = self._prompts_by_motion(workspace, report)
        if not prompts:
            report.note("nothing was found to move by itself, so the network was not asked")
            clip = workspace.clip()
            empty = np.zeros((clip.height, clip.width), np.int32)
            return (empty for _ in range(workspace.num_frames)), []
        return network(workspace.images(), prompts), [prompt.name for prompt in prompts]

    def _prompts_by_motion(self, workspace: Workspace, report: Report) -> list[Prompt]:
        """Return the masks of what moves, each in the frame that shows most of it."""
        from dyn3d_ns.video.masks.prompts import Prompt

        labels, names = self._found(workspace, report)
        best: dict[int, tuple[int, int, np.ndarray]] = {}
        for i, ids in enumerate(labels):
            for k in range(1, len(names) + 1):
                area = int((ids == k).sum())
                if area > best.get(k, (0, 0, ids))[0]:
                    best[k] = (area, i, ids == k)
        return [Prompt(names[k - 1], best[k][1], mask=best[k][2]) for k in sorted(best)]

    def _found(
        self, workspace: Workspace, report: Report
    ) -> tuple[Iterable[Int32[np.ndarray, "H W"]], list[str]]:
        from dyn3d_ns.video.masks.instances import Linker, final_ids
        from dyn3d_ns.video.masks.motion import NeighbourFlows, backward_votes, label_frames, renumber

        settings, count = self.settings, workspace.num_frames
        if count < 2:
            report.note("one frame shows no motion: the masks are empty")
            height, width = workspace.image(0).shape[:2]
            return [np.zeros((height, width), np.int32)], []
        flows = NeighbourFlows(workspace, count)
        kinds = self._score(workspace, report, flows)
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

    def _score(self, workspace: Workspace, report: Report, flows: NeighbourFlows) -> Counter[str]:
        """Write the scores of all frames; return how many pairs of frames are of which kind."""
        from dyn3d_ns.video.masks.ego_flow import open_ego_motion
        from dyn3d_ns.video.masks.motion import pair_residuals
        from dyn3d_ns.video.masks.scores import frame_scores

        span = self.settings.span
        ego = open_ego_motion(workspace, flows, self.settings.ego, report, span)
        kinds: Counter[str] = Counter()
        for i in report.track(range(flows.num_frames), "motion scores"):
            around = flows.around(i, span)
            pairs = pair_residuals(around) if ego is None else ego.residuals(i, around)
            kinds.update(pair.kind for pair in pairs)
            scores = frame_scores(pairs)
            workspace.write_motion(i, scores.average)
            workspace.write_motion(i, scores.maximum, "dyna_max")
            workspace.write_motion(i, scores.evidence, "evidence")
        return kinds

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
