"""`dyn3d export`: a trained scene as files of other tools."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from dyn3d_ns.cli.errors import (
    CommandError,
    require_output_file,
    require_output_folder,
    require_writable,
)
from dyn3d_ns.cli.export_web import ExportWeb
from dyn3d_ns.io.splats import About, Splats, SplatSequence, Up

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool
    from rich.progress import Progress

    from dyn3d_ns.engine.method import DynamicMethod
    from dyn3d_ns.export.scene import TrainedSequence
    from dyn3d_ns.export.written import Written
    from dyn3d_ns.timeline import Timeline

BEYOND = 0.25
"""Part of the recording that --future goes on past its end."""
MOST_TIMES = 100_000
"""Names of times have five digits."""


@dataclass(kw_only=True)
class ExportOptions:
    """Options of every export."""

    load_config: Path
    """config.yml of a training."""
    times: tuple[float, ...] | None = None
    """Normalised times, past 1 too; every frame of the recording if no times, frames or fps are given."""
    frames: tuple[int, ...] | None = None
    """Frames of the recording, counted from 0."""
    fps: float | None = None
    """Times at so many frames a second of real time."""
    future: bool = False
    """Go on past the end of the recording by a quarter of it, as the method predicts it."""
    up: Up | None = None
    """Axis that points up in the file: y, z, or data for the axes of the dataset; by default what the format
    is used to (y for usd, glb and 4dgs, data for the others)."""
    metres_per_unit: float | None = None
    """Length of the dataset's unit, where you know it; formats that can state it do."""

    usual_up: ClassVar[Up] = "data"

    def check(self) -> None:
        """Refuse what is wrong in itself before the scene is loaded."""
        given = [name for name in ("times", "frames", "fps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise CommandError(f"give one of --{given[0]} and --{given[1]}, not both")
        if self.times is not None and not (
            self.times and all(math.isfinite(time) and time >= 0 for time in self.times)
        ):
            raise CommandError(f"--times must be finite numbers from 0 on, got {self.times}")
        if self.frames is not None and (not self.frames or min(self.frames) < 0):
            raise CommandError(f"--frames must be numbers from 0 on, got {self.frames}")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise CommandError(f"--fps must be a number above 0, got {self.fps}")
        if self.future and self.times is not None:
            raise CommandError("--future goes on past the recording; with --times, name the times themselves")
        if self.metres_per_unit is not None and not (
            math.isfinite(self.metres_per_unit) and self.metres_per_unit > 0
        ):
            raise CommandError(f"--metres-per-unit must be a number above 0, got {self.metres_per_unit}")

    def named_times(self, timeline: Timeline) -> dict[str, float]:
        """Return the times to export, rising, by the name of each: one prefix, and digits at the end."""
        self.check()
        last = timeline.num_frames - 1
        if self.times is not None:
            digits = max(5, len(str(round(1e4 * max(self.times)))))
            named = {f"time_{round(1e4 * time):0{digits}d}": time for time in sorted(self.times)}
            if len(named) < len(self.times):
                raise CommandError(f"--times must differ by a ten-thousandth at least, got {self.times}")
            return named
        if self.fps is not None:
            step = 1 / (self.fps * timeline.duration)
            first, end = timeline.frame_times[0], timeline.frame_times[-1]
            end += BEYOND * (end - first) if self.future else 0.0
            count = math.floor((end - first) / step + 1e-6) + 1
            if count > MOST_TIMES:
                raise CommandError(
                    f"--fps {self.fps:g} makes {count} times, but names count {MOST_TIMES}: give a lower rate"
                )
            return {f"frame_{i:05d}": first + i * step for i in range(count)}
        frames = range(last + 1) if self.frames is None else sorted(set(self.frames))
        outside = [frame for frame in frames if not 0 <= frame <= last]
        if outside:
            raise CommandError(f"--frames must lie in 0 to {last}, got {outside}")
        named = {f"frame_{frame:05d}": timeline.frame_times[frame] for frame in frames}
        if self.future:
            end, dt = timeline.frame_times[-1], timeline.dt
            more = range(1, math.ceil(BEYOND * (last + 1)) + 1)
            named |= {f"frame_{last + i:05d}": end + i * dt for i in more}
        return named

    def run(self) -> None:
        """Load the scene and write it.

        Raises:
            CommandError: the format cannot hold it, or what it needs is not there.
        """
        from dyn3d_ns.cli.rig import telling_what_lacks

        self.check()
        self.prepare()
        model, method = self._load()
        named = self.named_times(model.timeline)
        self.require_free(list(named))
        sequence = self._sequence(model, method, list(named.values()))
        with telling_what_lacks(self.load_config), shown(sequence) as ahead:
            written = self.write(ahead, list(named), model)
        first, last = sequence.seconds[0], sequence.seconds[-1]
        when = (
            f"at {first:.4g} s" if len(named) == 1 else f"at {len(named)} times, {first:.4g} to {last:.4g} s"
        )
        print(f"{written.path}: {len(sequence.moving)} Gaussians {when}, {written.size / 1e6:.2f} MB")
        print(f"held: {written.loss}")
        if written.note:
            print(written.note)

    def prepare(self) -> None:
        """Check what can be checked before the scene is loaded: the place to write to, and packages."""
        raise NotImplementedError

    def require_free(self, names: list[str]) -> None:
        """Refuse names that are taken."""

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the scene."""
        raise NotImplementedError

    def _load(self) -> tuple[DynamicMethod, str]:
        from dyn3d_ns.cli.rig import load_method
        from dyn3d_ns.engine.config_file import load_config

        return load_method(self.load_config), load_config(self.load_config).method_name

    def _sequence(self, model: DynamicMethod, method: str, times: list[float]) -> TrainedSequence:
        import numpy as np

        from dyn3d_ns.cli.rig import rig_of_config
        from dyn3d_ns.export.scene import TrainedSequence, about_model, turn_to
        from dyn3d_ns.io.splats import View

        rig = rig_of_config(self.load_config)
        up: Up = self.up or self.usual_up
        turn = turn_to(model.world.transform[:3, :3].T @ rig.up, up)
        poses = model.world.poses_back(rig.poses)
        views = [
            View(pose, float(fov), (int(width), int(height)))
            for pose, fov, (width, height) in zip(poses, rig.fovs, rig.resolutions, strict=True)
        ]
        about = about_model(model, method, up, views, turn)
        return TrainedSequence(
            model,
            times,
            replace(about, metres_per_unit=self.metres_per_unit),
            None if np.array_equal(turn, np.eye(3)) else turn,
        )


@dataclass(kw_only=True)
class ExportInstants(ExportOptions):
    """Formats of one instant."""

    output: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])]
    """Folder for frame_00000 and so on (time_02500 for --times 0.25), or the file for one time."""

    suffix: ClassVar[str] = ""

    def prepare(self) -> None:
        """Check the place to write to."""
        if self.output.suffix.lower() == self.suffix:
            require_output_file(self.output, self.suffix)
        elif self.output.suffix and not self.output.is_dir():
            raise CommandError(f"--output must be a folder or end in {self.suffix}, got {self.output}")
        else:
            require_output_folder(self.output)

    def require_free(self, names: list[str]) -> None:
        """Refuse a folder that holds files of another sequence."""
        from dyn3d_ns.export.instants import require_free

        if self.output.suffix.lower() != self.suffix:
            require_free(self.output, names, self.suffix)


@dataclass(kw_only=True)
class ExportPly(ExportInstants):
    """Write 3DGS PLYs in the data's units, which splat viewers open; a folder plays in SuperSplat.

    Places too far from the origin for float32 are written as double, which not every viewer reads.
    """

    suffix: ClassVar[str] = ".ply"

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the files."""
        from dyn3d_ns.export.instants import write_instants
        from dyn3d_ns.export.ply import LOSS, encode_ply

        return write_instants(sequence, self.output, names, self.suffix, encode_ply, LOSS)


@dataclass(kw_only=True)
class ExportSpz(ExportInstants):
    """Write SPZ files (version 3), a tenth of a PLY; along the PLY's axes, as all common writers do."""

    suffix: ClassVar[str] = ".spz"

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the files."""
        from dyn3d_ns.export.instants import write_instants
        from dyn3d_ns.export.scene import centred
        from dyn3d_ns.export.spz import LOSS, encode_spz

        return write_instants(centred(sequence), self.output, names, self.suffix, encode_spz, LOSS)


@dataclass(kw_only=True)
class ExportGlb(ExportInstants):
    """Write binary glTF with KHR_gaussian_splatting, one file an instant."""

    suffix: ClassVar[str] = ".glb"
    usual_up: ClassVar[Up] = "y"

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the files."""
        from dyn3d_ns.export.glb import LOSS, encode_glb
        from dyn3d_ns.export.instants import write_instants
        from dyn3d_ns.export.scene import centred

        return write_instants(centred(sequence), self.output, names, self.suffix, encode_glb, LOSS)


@dataclass(kw_only=True)
class ExportTrajectories(ExportOptions):
    """Write where every Gaussian is and how fast it moves, at every time, in the data's units (npz)."""

    output: Path
    """File to write (.npz): times [T], means and velocities [T,N,3], quats [T,N,4] wxyz, dynamic [N]."""

    def prepare(self) -> None:
        """Check the file's name."""
        require_output_file(self.output, ".npz")

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the file."""
        from dyn3d_ns.export.npz import write_trajectories

        return write_trajectories(sequence, self.output, model.timeline.duration)


@dataclass(kw_only=True)
class ExportMoving(ExportOptions):
    """Formats that hold motion within a bound."""

    max_error: float | None = None
    """Largest error of places between what is stored, in units of the data; a thousandth of the scene's
    extent by default."""

    def check(self) -> None:
        """Refuse what is wrong in itself."""
        super().check()
        if self.max_error is not None and not (math.isfinite(self.max_error) and self.max_error > 0):
            raise CommandError(f"--max-error must be a number above 0, got {self.max_error}")


@dataclass(kw_only=True)
class ExportUsd(ExportMoving):
    """Write USD with time-sampled Gaussian splats and the recorded cameras; Blender 5.3 plays it."""

    output: Path
    """File to write (.usd, .usdc, or .usda for text)."""

    usual_up: ClassVar[Up] = "y"

    def prepare(self) -> None:
        """Check the file's name and usd-core."""
        from dyn3d_ns.export.usd import SUFFIXES, require_usd

        require_output_file(self.output, SUFFIXES)
        require_usd()

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the file."""
        from dyn3d_ns.export.usd import write_usd

        return write_usd(sequence, self.output, self.max_error)


@dataclass(kw_only=True)
class Export4dgs(ExportMoving):
    """Write one .4dgs file: Gaussians with velocities, as few records as the bound asks for."""

    output: Path
    """File to write (.4dgs)."""

    usual_up: ClassVar[Up] = "y"

    def prepare(self) -> None:
        """Check the file's name and fourdgs."""
        from dyn3d_ns.export.fourdgs import SUFFIXES, require_fourdgs

        require_output_file(self.output, SUFFIXES)
        require_fourdgs()

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the file."""
        from dyn3d_ns.export.fourdgs import write_4dgs
        from dyn3d_ns.export.scene import centred

        return write_4dgs(centred(sequence), self.output, self.max_error)


@dataclass(kw_only=True)
class ExportSplat4d(ExportMoving):
    """Write one .splat4d file: the smallest that plays, without view-dependent colour."""

    output: Path
    """File to write (.splat4d)."""

    def prepare(self) -> None:
        """Check the file's name and the program."""
        from dyn3d_ns.export.splat4d import SUFFIXES, find_program

        require_output_file(self.output, SUFFIXES)
        find_program()

    def write(self, sequence: SplatSequence, names: list[str], model: DynamicMethod) -> Written:
        """Write the file."""
        from dyn3d_ns.export.scene import centred
        from dyn3d_ns.export.splat4d import write_splat4d

        return write_splat4d(centred(sequence), self.output, self.max_error)


@dataclass(kw_only=True)
class ExportDas3r:
    """Write a scene of dyn3d-das3r in the files of DAS3R's published code; splat viewers show what rests."""

    load_config: Path
    """config.yml of a training of dyn3d-das3r."""
    output_dir: Path
    """Folder for point_cloud/iteration_N/point_cloud.ply, pose/pose_org.npy and pose/pose_N.npy."""

    def run(self) -> None:
        """Load the scene and write the files."""
        require_writable(self.output_dir, "--output-dir")
        from dyn3d_ns.cli.das3r import load_scene
        from dyn3d_ns.models.das3r.files import write_das3r

        scene = load_scene(self.load_config)
        path = write_das3r(scene.model, self.output_dir, scene.step)
        print(f"{path}: {len(scene.model.scene)} Gaussians, {path.stat().st_size / 1e6:.1f} MB")
        print(f"{self.output_dir / 'pose'}: {len(scene.model.views.times)} world-to-camera poses")


@dataclass
class Export:
    """Export a trained scene to files."""

    what: (
        Annotated[ExportPly, tyro.conf.subcommand("ply")]
        | Annotated[ExportUsd, tyro.conf.subcommand("usd")]
        | Annotated[Export4dgs, tyro.conf.subcommand("4dgs")]
        | Annotated[ExportSplat4d, tyro.conf.subcommand("splat4d")]
        | Annotated[ExportSpz, tyro.conf.subcommand("spz")]
        | Annotated[ExportGlb, tyro.conf.subcommand("glb")]
        | Annotated[ExportTrajectories, tyro.conf.subcommand("trajectories")]
        | Annotated[ExportDas3r, tyro.conf.subcommand("das3r")]
        | Annotated[ExportWeb, tyro.conf.subcommand("web")]
    )

    def run(self) -> None:
        """Run the export."""
        self.what.run()


class _Shown:
    """A sequence that shows how far it has been read, and works on the next time meanwhile."""

    def __init__(self, sequence: SplatSequence, bar: Progress, worker: Executor) -> None:
        self._sequence, self._bar, self._worker = sequence, bar, worker
        self._task = bar.add_task("Exporting", total=len(sequence.seconds))
        self._next: tuple[int, Future[Splats]] | None = None

    @property
    def seconds(self) -> tuple[float, ...]:
        return self._sequence.seconds

    @property
    def about(self) -> About:
        return self._sequence.about

    @property
    def moving(self) -> Bool[np.ndarray, "N"]:
        return self._worker.submit(lambda: self._sequence.moving).result()

    def at(self, index: int) -> Splats:
        # Methods are asked for one time at once, so that all are worked on in one thread.
        if self._next is None or self._next[0] != index:
            self._next = index, self._worker.submit(self._sequence.at, index)
        splats = self._next[1].result()
        if index + 1 < len(self.seconds):
            self._next = index + 1, self._worker.submit(self._sequence.at, index + 1)
        self._bar.update(self._task, completed=max(index + 1, int(self._bar.tasks[0].completed)))
        return splats


@contextmanager
def shown(sequence: SplatSequence) -> Iterator[SplatSequence]:
    """Show the progress of what reads a sequence, time after time."""
    from rich.progress import Progress

    with Progress(transient=True) as bar, ThreadPoolExecutor(1) as worker:
        yield _Shown(sequence, bar, worker)
