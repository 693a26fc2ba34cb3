"""What every `dyn3d export` has in common: the scene, its times and its axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.io.splats import BEYOND, About, Splats, SplatSequence, Up

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool
    from rich.progress import Progress

    from dyn3d_ns.cli.rig import Loaded
    from dyn3d_ns.engine.method import DynamicMethod
    from dyn3d_ns.export.scene import TrainedSequence
    from dyn3d_ns.export.written import Written
    from dyn3d_ns.timeline import Timeline

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
        from dyn3d_ns.cli.rig import load_scene, telling_what_lacks

        self.check()
        self.prepare()
        loaded = load_scene(self.load_config)
        named = self.named_times(loaded.model.timeline)
        self.require_free(list(named))
        sequence = self.sequence(loaded, list(named.values()))
        with telling_what_lacks(self.load_config), shown(sequence) as ahead:
            written = self.write(ahead, list(named), loaded.model)
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

    def sequence(self, loaded: Loaded, times: list[float]) -> TrainedSequence:
        """Return a scene at normalised times, along the axes asked for."""
        from dyn3d_ns.export.scene import TrainedSequence, about_model, turn_to, turned

        model, method, rig = loaded
        up: Up = self.up or self.usual_up
        turn = turn_to(model.world.transform[:3, :3].T @ rig.up, up)
        about = about_model(model, method, up, rig.views(model.world.poses_back(rig.poses)), turn)
        about = replace(about, metres_per_unit=self.metres_per_unit)
        return TrainedSequence(model, times, about, turned(model.world, turn))


class _Shown:
    """A sequence that shows how far it has been read, and works on the next time meanwhile."""

    def __init__(self, sequence: SplatSequence, bar: Progress, worker: Executor) -> None:
        self._sequence, self._bar, self._worker = sequence, bar, worker
        self._task = bar.add_task("Exporting", total=len(sequence.seconds))
        self._next: tuple[int, Future[Splats]] | None = None
        self._last: tuple[int, Splats] | None = None

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
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        # Methods are asked for one time at once, so that all are worked on in one thread.
        if self._next is None or self._next[0] != index:
            self._next = index, self._worker.submit(self._sequence.at, index)
        splats = self._next[1].result()
        self._last = index, splats
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
