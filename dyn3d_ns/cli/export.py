"""`dyn3d export`: a trained scene as files of other tools."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from dyn3d_ns.cli.errors import (
    CommandError,
    require_output_file,
    require_output_folder,
    require_writable,
)
from dyn3d_ns.cli.export_options import ExportOptions
from dyn3d_ns.cli.export_web import ExportWeb
from dyn3d_ns.io.splats import SplatSequence, Up

if TYPE_CHECKING:
    from dyn3d_ns.engine.method import DynamicMethod
    from dyn3d_ns.export.written import Written


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
