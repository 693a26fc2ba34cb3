"""The stage `flow`: motion between neighbouring frames, both ways."""

from __future__ import annotations

from pathlib import Path

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.flow_files import write_flo
from dyn3d_ns.video.flow.consistency import flow_both_ways
from dyn3d_ns.video.flow.settings import FlowSettings
from dyn3d_ns.video.parts import FlowEstimator
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage


def make_estimator(settings: FlowSettings) -> FlowEstimator:
    """Build the estimator that the settings name."""
    return make_part("flow", settings.method, settings)


class FlowStage(Stage):
    """Estimates the flow from every frame to the next and back, and where the two agree."""

    name = "flow"
    needs = ("frames",)
    settings: FlowSettings

    def external_inputs(self) -> list[Path]:
        """Return the weight file, if any."""
        return [self.settings.weights] if self.settings.weights is not None else []

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return both directions of every pair."""
        last = workspace.num_frames - 1
        pairs = [(i, i + 1) for i in range(last)]
        files = [workspace.flow_info_path]
        files += [workspace.flow_path(*pair) for i, j in pairs for pair in ((i, j), (j, i))]
        flo = [workspace.flow_path(i, j).with_suffix(".flo") for i, j in pairs]
        return files + flo if self.settings.flo else files

    def run(self, workspace: Workspace, report: Report) -> None:
        """Write the flow of all pairs; memory holds two frames."""
        estimator = make_estimator(self.settings)
        # Other stages keep flow over longer steps too; after a change of frames or method it is of no use.
        for distance in (1, 2):
            for path in workspace.flow_path(0, distance).parent.glob("*_*.*"):
                path.unlink()
        images = workspace.images()
        previous = images[0]
        poor = []
        for i in report.track(range(len(images) - 1), "flow"):
            current = images[i + 1]
            forward, backward = flow_both_ways(estimator, previous, current)
            workspace.write_flow(i, i + 1, forward)
            workspace.write_flow(i + 1, i, backward)
            if self.settings.flo:
                write_flo(workspace.flow_path(i, i + 1).with_suffix(".flo"), forward.flow)
            if forward.valid.mean() < 0.5:
                poor.append(i)
            previous = current
        write_json(workspace.flow_info_path, {"method": self.settings.method, "steps": [-1, 1]})
        if poor:
            report.note(
                f"flow and flow back disagree over half of the image at {len(poor)} frame(s), first at "
                f"{poor[0]}: a cut, strong blur or large motion"
            )
