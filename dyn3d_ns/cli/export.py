"""`dyn3d export`: Gaussians at given times, as PLY files and as trajectories."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_output_file, require_writable
from dyn3d_ns.cli.export_web import ExportWeb

if TYPE_CHECKING:
    import numpy as np

    from dyn3d_ns.engine.method import DynamicMethod
    from dyn3d_ns.gaussians import Gaussians
    from dyn3d_ns.timeline import Timeline


@dataclass(kw_only=True)
class ExportOptions:
    """Options of every export."""

    load_config: Path
    """config.yml of a training."""
    times: tuple[float, ...] | None = None
    """Normalised times, past 1 too; every frame of the recording if neither this nor --frames is given."""
    frames: tuple[int, ...] | None = None
    """Frames of the recording, counted from 0."""

    def check(self) -> None:
        """Refuse what is wrong in itself before the scene is loaded."""
        if self.times is not None and self.frames is not None:
            raise CommandError("give --times or --frames, not both")
        if self.times is not None and (not self.times or not all(map(math.isfinite, self.times))):
            raise CommandError(f"--times must be finite numbers, got {self.times}")
        if self.frames is not None and (not self.frames or min(self.frames) < 0):
            raise CommandError(f"--frames must be numbers from 0 on, got {self.frames}")

    def named_times(self, timeline: Timeline) -> dict[str, float]:
        """Return the times to export by the name of each."""
        self.check()
        if self.times is not None:
            return {f"time_{time:.4f}": time for time in self.times}
        last = timeline.num_frames - 1
        frames = range(last + 1) if self.frames is None else self.frames
        outside = [frame for frame in frames if not 0 <= frame <= last]
        if outside:
            raise CommandError(f"--frames must lie in 0 to {last}, got {outside}")
        return {f"frame_{frame:05d}": timeline.frame_times[frame] for frame in frames}


@dataclass(kw_only=True)
class ExportPly(ExportOptions):
    """Write one 3DGS PLY per time in the data's units, which splat viewers open.

    Places too far from the origin for float32 are written as double, which not every viewer reads.
    """

    output_dir: Path
    """Folder for frame_00000.ply and so on (time_0.2500.ply for --times)."""

    def run(self) -> None:
        """Load the scene and write the files."""
        from dyn3d_ns.cli.rig import load_method, telling_what_lacks

        self.check()
        require_writable(self.output_dir, "--output-dir")
        model = load_method(self.load_config)
        named = self.named_times(model.timeline)
        with telling_what_lacks(self.load_config):
            written = export_ply(model, named, self.output_dir)
        print(f"{len(written)} files of {written[0].stat().st_size / 1e6:.1f} MB in {self.output_dir}")
        (first, start), (last, end) = list(named.items())[0], list(named.items())[-1]
        shown = f"{first}.ply shows time {start:.4f}" + (
            f", {last}.ply time {end:.4f}" if last != first else ""
        )
        print(f"{shown}; --times asks for others")


@dataclass(kw_only=True)
class ExportTrajectories(ExportOptions):
    """Write where every Gaussian is and how fast it moves, at every time, in the data's units (npz)."""

    output: Path
    """File to write (.npz): times [T], means and velocities [T,N,3], quats [T,N,4] wxyz, dynamic [N]."""

    def run(self) -> None:
        """Load the scene and write the file."""
        from dyn3d_ns.cli.rig import load_method, telling_what_lacks

        self.check()
        require_output_file(self.output, ".npz")
        model = load_method(self.load_config)
        times = list(self.named_times(model.timeline).values())
        with telling_what_lacks(self.load_config):
            export_trajectories(model, times, self.output)
        print(f"{self.output}: {len(times)} times, {self.output.stat().st_size / 1e6:.1f} MB")


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
        | Annotated[ExportTrajectories, tyro.conf.subcommand("trajectories")]
        | Annotated[ExportDas3r, tyro.conf.subcommand("das3r")]
        | Annotated[ExportWeb, tyro.conf.subcommand("web")]
    )

    def run(self) -> None:
        """Run the export."""
        self.what.run()


def export_ply(model: DynamicMethod, named_times: dict[str, float], folder: Path) -> list[Path]:
    """Write the Gaussians at each time to `folder/<name>.ply` and return the paths."""
    from dyn3d_ns.gaussians.data_units import to_data_units
    from dyn3d_ns.io.ply import write_splats

    written = []
    for name, time in _progress(named_times.items(), "Exporting"):
        gaussians = to_data_units(model.gaussians_at(time), model.world)
        path = folder / f"{name}.ply"
        write_splats(
            path,
            gaussians.means.detach().cpu().numpy(),
            _array(gaussians.quats),
            _array(gaussians.scales),
            _array(gaussians.opacities),
            _array(gaussians.colors),
        )
        written.append(path)
    return written


def export_trajectories(model: DynamicMethod, times: Sequence[float], path: Path) -> None:
    """Write times, means, velocities, orientations and the dynamic mask of all Gaussians to an npz file.

    All is in the data's units, velocities per unit of normalised time. Centres are float64 where they lie too
    far from the origin for float32. Only one time is in memory at once.
    """
    import numpy as np
    from torch.nn.functional import normalize

    from dyn3d_ns.gaussians.data_units import to_data_units
    from dyn3d_ns.geometry.world import far_from_origin
    from dyn3d_ns.io.npz import write_blocks

    first = to_data_units(model.gaussians_at(times[0]), model.world)
    far = far_from_origin(first.means.detach().cpu().numpy())
    fields: dict[str, tuple[int, Callable[[Gaussians], np.ndarray]]] = {
        "means": (3, lambda gaussians: gaussians.means.detach().cpu().numpy()),
        "velocities": (3, lambda gaussians: _array(gaussians.motion)),
        "quats": (4, lambda gaussians: _array(normalize(gaussians.quats, dim=-1))),
    }

    def members() -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterable[np.ndarray]]]:
        yield "times", np.dtype("<f4"), (len(times),), [np.asarray(times, dtype=np.float32)]
        yield "dynamic", np.dtype(bool), (len(first),), [first.moving.cpu().numpy()]
        for name, (width, array_of) in fields.items():
            blocks = (
                array_of(to_data_units(model.gaussians_at(time), model.world))
                for time in _progress(times, f"Exporting {name}")
            )
            kind = "<f8" if far and name == "means" else "<f4"
            yield name, np.dtype(kind), (len(times), len(first), width), blocks

    write_blocks(path, members())


def _array(tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _progress(items, description: str):
    from rich.progress import track

    return track(list(items), description=description)
