"""Entry point of the `dyn3d` command; imports nothing heavy, so that --help is fast."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Protocol

import tyro

from dyn3d_ns.cli.bench import Bench
from dyn3d_ns.cli.clean import Clean
from dyn3d_ns.cli.eval_flow import EvalFlow
from dyn3d_ns.cli.eval_motion import EvalMotion
from dyn3d_ns.cli.eval_video import EvalVideo
from dyn3d_ns.cli.export import Export
from dyn3d_ns.cli.import_scene import ImportScene
from dyn3d_ns.cli.info import Info
from dyn3d_ns.cli.path import MakePath
from dyn3d_ns.cli.play import Play
from dyn3d_ns.cli.process import Process
from dyn3d_ns.cli.segment import Segment
from dyn3d_ns.cli.stream import Stream
from dyn3d_ns.cli.transfer import TransferVelocity
from dyn3d_ns.cli.view import View
from dyn3d_ns.engine.waiting_threads import yield_cores_to_others
from dyn3d_ns.plain_errors import (
    EXIT_STATUS,
    NOBODY_READS,
    STOPPED,
    explanation,
    reader_left,
    traceback_wanted,
)

DESCRIPTION = """From a video to a scene; camera paths, exports and motion metrics for trained scenes.
Examples (CONFIG is the config.yml that ns-train names at its end):
1. Orbit while time runs on into the unobserved future, then render it:
   dyn3d path orbit --load-config CONFIG --output orbit.json
   ns-render camera-path --load-config CONFIG --camera-path-filename orbit.json --output-path orbit.mp4
2. Freeze one moment and go twice around it:
   dyn3d path bullet-time --load-config CONFIG --at 0.5 --loops 2 --output bullet.json
3. Look through training camera 3 at a tenth of the speed, at 800x600 pixels:
   dyn3d path slow-motion --load-config CONFIG --camera 3 --speed 0.1 --resolution 800 600 --output slow.json
4. From the last observed frame to the end and a quarter of the recording past it:
   dyn3d path future --load-config CONFIG --beyond 0.25 --output future.json
5. A PLY for splat viewers at three times, and the scene in motion for Blender and others:
   dyn3d export ply --load-config CONFIG --times 0 0.5 1 --output splats
   dyn3d export usd --load-config CONFIG --output scene.usdc
   dyn3d export 4dgs --load-config CONFIG --output scene.4dgs
   dyn3d export splat4d --load-config CONFIG --output scene.splat4d
   dyn3d export spz --load-config CONFIG --times 0.5 --output middle.spz
   dyn3d export glb --load-config CONFIG --times 0.5 --output middle.glb
   dyn3d export trajectories --load-config CONFIG --output trajectories.npz
   dyn3d export web --load-config CONFIG --output scene.html
6. Compare the learned motion with the true one:
   dyn3d eval-motion --load-config CONFIG --gt motion.json --output motion_errors.json
7. Turn a video into a scene to train on (frames, masks, cameras, depth, points over time):
   dyn3d process video.mp4 scene
   dyn3d view scene
8. Compare it with ground truth in Sintel's layout:
   dyn3d eval-video scene --gt sintel --sequence alley_1 --output video_errors.json
9. Say what a folder is, and what can be done with it:
   dyn3d info scene
10. The parts of a dyn3d-velocity-planes scene that move rigidly, found without labels:
   dyn3d segment --load-config CONFIG --output-dir masks
11. The motion of one dyn3d-velocity-planes scene on the geometry of another:
   dyn3d transfer-velocity --from CONFIG --to CONFIG --output-dir transferred
12. The cameras of a sequence of DAVIS or Sintel, written to where davis-data and sintel-data look:
   dyn3d process davis:DAVIS/dog
   dyn3d process sintel:SINTEL/alley_2
13. A video without what moves in it (processed and trained on the way), or rendered from a training:
   dyn3d clean video.mp4 clean.mp4
   dyn3d clean --config CONFIG clean.mp4
14. A dyn3d-das3r scene in the files of DAS3R's published code, which splat viewers open too:
   dyn3d export das3r --load-config CONFIG --output-dir exported
15. DAS3R's tables over sequences of your own choice, beside the published figures:
   dyn3d bench das3r clips/camel clips/dog --output bench
16. What is in a stream of deltas, whether all of it is whole, and frames 10 to 39 as one of their own:
   dyn3d stream info CONFIG
   dyn3d stream verify CONFIG
   dyn3d stream cut CONFIG --frames 10 39 --output part
17. Play a STREAM (its folder or CONFIG) in the browser, also while it is written; a PLY of every fifth frame:
   dyn3d play STREAM
   dyn3d stream bake CONFIG --every 5 --output-dir splats
18. Streaming methods, whole and without their parts, in one table beside the published figures:
   dyn3d bench stream recordings/table --output bench-stream
19. Compare the flow that a dyn3d-mononerf scene's motion makes with the data's:
   dyn3d eval-flow --load-config CONFIG --output flow_errors.json
20. One dyn3d-mononerf field for several scenes, and its parts, beside the published figures:
   dyn3d bench mononerf scenes --scenes Balloon1 Balloon2 --output bench-mononerf
21. A file of Gaussians of others (PLY, SPZ, SOG, GLB, USD, .4dgs, a folder of frames) as a scene:
   dyn3d import scene.spz
   dyn3d import frames --fps 24 --up z
"""

Plain = tyro.conf.OmitArgPrefixes
Command = (
    Annotated[MakePath, Plain, tyro.conf.subcommand("path")]
    | Annotated[Export, Plain, tyro.conf.subcommand("export")]
    | Annotated[ImportScene, Plain, tyro.conf.subcommand("import")]
    | Annotated[EvalMotion, Plain, tyro.conf.subcommand("eval-motion")]
    | Annotated[EvalFlow, Plain, tyro.conf.subcommand("eval-flow")]
    | Annotated[Segment, Plain, tyro.conf.subcommand("segment")]
    | Annotated[TransferVelocity, Plain, tyro.conf.subcommand("transfer-velocity")]
    | Annotated[Process, tyro.conf.subcommand("process")]
    | Annotated[View, Plain, tyro.conf.subcommand("view")]
    | Annotated[EvalVideo, Plain, tyro.conf.subcommand("eval-video")]
    | Annotated[Info, Plain, tyro.conf.subcommand("info")]
    | Annotated[Clean, Plain, tyro.conf.subcommand("clean")]
    | Annotated[Bench, Plain, tyro.conf.subcommand("bench")]
    | Annotated[Play, Plain, tyro.conf.subcommand("play")]
    | Annotated[Stream, Plain, tyro.conf.subcommand("stream")]
)


class Runnable(Protocol):
    """A command with its arguments."""

    def run(self) -> None:
        """Do what it says."""
        ...


def parse(args: list[str] | None = None) -> Runnable:
    """Return the command that the given arguments (those of the process if None) describe."""
    return tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="dyn3d",
        description=DESCRIPTION,
        args=args,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )


def main(args: list[str] | None = None) -> int:
    """Run the command with the given arguments and return its exit status."""
    try:
        try:
            return _run(args)
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not reader_left(error):
            raise
        return NOBODY_READS
    except KeyboardInterrupt:
        if traceback_wanted():
            raise
        print("\ndyn3d: stopped", file=sys.stderr)
        return STOPPED


def _run(args: list[str] | None) -> int:
    command = parse(args)
    yield_cores_to_others()
    try:
        command.run()
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        if traceback_wanted():
            traceback.print_exc()
        print(f"dyn3d: {message}", file=sys.stderr)
        return EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
