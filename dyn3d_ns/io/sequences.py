"""Sequences of DAVIS and of MPI Sintel: where one lies, how it is called, and where its clip belongs.

ROOT/JPEGImages/<resolution>/<name>   DAVIS; Annotations/ beside JPEGImages/
ROOT/training/<pass>/<name>           Sintel, also ROOT/test/<pass>/<name>
ROOT/dyn3d/<resolution or pass>/<name>  what `dyn3d process` makes of it
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyn3d_ns.io.errors import DatasetError, MissingFileError
from dyn3d_ns.io.ground_truth import KINDS
from dyn3d_ns.io.recognised import Recognised, images_in, natural_order
from dyn3d_ns.io.series import Series, picture_series
from dyn3d_ns.io.shell import shell_word

PREFIXES = ("davis:", "sintel:")
"""What a sequence of a dataset begins with where a video could stand."""
RenderPass = Literal["final", "clean"]
_PASSES = ("final", "clean")
_PARTS = ("training", "test")
_USUAL = "480p"


@dataclass(frozen=True)
class Sequence(ABC):
    """One video of a dataset."""

    root: Path
    """Folder of the whole dataset."""
    name: str
    variant: str
    """Resolution of DAVIS, render pass of Sintel."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Folder of the frames."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What `dyn3d process` calls it."""

    @property
    def clip(self) -> Path:
        """Folder that `dyn3d process` writes, and that dataparsers look at."""
        return self.root / "dyn3d" / self.variant / self.name

    @property
    def frames(self) -> list[Path]:
        """Images in the order of their numbers; see :attr:`series` for errors."""
        return self.series.images

    @property
    def series(self) -> Series:
        """Images in the order of their numbers, and what was left out of the folder.

        Raises:
            MissingFileError: there are none.
            DatasetError: it is not plain which images they are.
        """
        found = picture_series(self.folder)
        if not found.images:
            raise MissingFileError(f"{self.folder} holds no image; it is to hold the frames of {self.name}")
        return found


@dataclass(frozen=True)
class DavisSequence(Sequence):
    """A sequence of DAVIS, or in its layout."""

    @property
    def folder(self) -> Path:
        """Folder of the frames."""
        return self.root / "JPEGImages" / self.variant / self.name

    @property
    def source(self) -> str:
        """What `dyn3d process` calls it."""
        if self.variant == _resolution(self.root, None):
            return f"davis:{self.root / self.name}"
        return f"davis:{self.folder}"

    @property
    def annotations(self) -> list[Path]:
        """Palette images of object ids, in the order of their numbers."""
        return images_in(self.root / "Annotations" / self.variant / self.name)


@dataclass(frozen=True)
class SintelSequence(Sequence):
    """A sequence of MPI Sintel, or in its layout."""

    part: Path
    """Folder with the passes and the ground truth: `training/`, `test/`, or the root itself."""

    @property
    def folder(self) -> Path:
        """Folder of the frames."""
        return self.part / self.variant / self.name

    @property
    def source(self) -> str:
        """What `dyn3d process` calls it."""
        middle = "" if self.variant == _PASSES[0] else self.variant
        return f"sintel:{self.root / middle / self.name}"


def find_davis(data: Path, name: str | None = None, resolution: str | None = None) -> DavisSequence:
    """Find a sequence below the root of DAVIS, or by its own folder of frames.

    Args:
        data: the root, or `ROOT/JPEGImages/<resolution>/<name>`.
        name: which sequence; may be left out where there is only one.
        resolution: folder of `JPEGImages/`; 480p or, without that, the largest.

    Raises:
        DatasetError: it is no DAVIS, or the sequence is not named or not there.
    """
    own = data.absolute()
    if own.parent.parent.name == "JPEGImages" and data.is_dir():
        _agree(data, own.name, name, "--sequence")
        _agree(data, own.parent.name, resolution, "--resolution")
        root = data.parents[2] if len(data.parents) > 2 else own.parents[2]
        return DavisSequence(root, own.name, own.parent.name)
    if not (data / "JPEGImages").is_dir():
        raise DatasetError(
            f"{data} is no DAVIS: expected its root, which holds JPEGImages/<resolution>/<sequence>, or the "
            "folder of one sequence in there"
        )
    resolution = _resolution(data, resolution)
    folder = data / "JPEGImages" / resolution
    return DavisSequence(data, _one_of(_folders(folder), name, folder), resolution)


def find_sintel(data: Path, name: str | None = None, render_pass: str | None = None) -> SintelSequence:
    """Find a sequence below the root of Sintel, or by its own folder of frames.

    Args:
        data: the root, or the folder of a sequence in one of the passes.
        name: which sequence; may be left out where there is only one.
        render_pass: final or clean; final if it is there.

    Raises:
        DatasetError: it is no Sintel, or the sequence or the pass is not there.
    """
    own = data.absolute()
    if own.parent.name in _PASSES and data.is_dir() and images_in(data):
        _agree(data, own.name, name, "--sequence")
        _agree(data, own.parent.name, render_pass, "--render-pass")
        part = data.parents[1] if len(data.parents) > 1 else own.parents[1]
        root = part.parent if own.parents[1].name in _PARTS else part
        return SintelSequence(root, own.name, own.parent.name, part)
    found: dict[str, list[tuple[str, Path]]] = {}
    for part in (*(data / part for part in _PARTS), data):
        for each in _PASSES:
            for sequence in _folders(part / each):
                found.setdefault(sequence, []).append((each, part))
    if not found:
        raise DatasetError(
            f"{data} is no Sintel: expected its root, which holds training/final/<sequence>, or the folder "
            "of one sequence in there"
        )
    name = _one_of(sorted(found), name, data)
    for each, part in found[name]:
        if render_pass in (None, each):
            return SintelSequence(data, name, each, part)
    raise DatasetError(
        f"{data} holds {name} in the pass {found[name][0][0]}, not in {render_pass}; choose it with "
        "--render-pass"
    )


def named_sequence(source: str) -> Sequence | None:
    """Return the sequence that the source of a video means: `davis:ROOT/NAME`, `sintel:ROOT/[PASS/]NAME`.

    Without a prefix it is one if it is the folder of its frames, within the dataset's tree; else None.

    Raises:
        DatasetError: it has a prefix, and there is no such sequence.
    """
    path = Path(source.partition(":")[2] if source.startswith(PREFIXES) else source)
    if source.startswith("davis:"):
        return find_davis(path) if _is_davis(path) else find_davis(path.parent, path.name)
    if source.startswith("sintel:"):
        if _is_sintel(path):
            return find_sintel(path)
        if path.parent.name in _PASSES:
            return find_sintel(path.parent.parent, path.name, path.parent.name)
        return find_sintel(path.parent, path.name)
    if not path.is_dir():
        return None
    own = path.absolute()
    if own.parent.parent.name == "JPEGImages":
        return find_davis(path)
    if own.parent.name in _PASSES and own.parents[1].name in _PARTS and images_in(path):
        return find_sintel(path)
    return None


def _is_davis(path: Path) -> bool:
    return (path / "JPEGImages").is_dir() or (
        path.absolute().parent.parent.name == "JPEGImages" and path.is_dir()
    )


def _is_sintel(path: Path) -> bool:
    if path.absolute().parent.name in _PASSES and images_in(path):
        return True
    return any(
        (part / each).is_dir() for part in (path / "training", path / "test", path) for each in _PASSES
    )


def holds_sequences(path: Path) -> Literal["davis", "sintel"] | None:
    """Tell whether a folder is the root, or a sequence's folder, of one of the datasets.

    A folder that is both counts as Sintel, which brings cameras.
    """
    if _is_sintel(path):
        return "sintel"
    return "davis" if _is_davis(path) else None


def _agree(data: Path, own: str, wanted: str | None, option: str) -> None:
    if wanted is not None and wanted != own:
        raise DatasetError(
            f"{data} is the folder of {own}, but {option} says {wanted}; leave one of them out"
        )


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _one_of(names: list[str], name: str | None, where: Path) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        asked = f"no sequence {name!r}" if name else f"{len(names)} sequences"
        raise DatasetError(f"{where} holds {asked}; give one with --sequence: {', '.join(names) or 'none'}")
    return name


def _resolution(root: Path, wanted: str | None) -> str:
    names = _folders(root / "JPEGImages")
    if wanted is not None and wanted in names:
        return wanted
    if wanted is not None or not names:
        asked = f"no resolution {wanted!r}" if wanted else "no resolution"
        raise DatasetError(f"{root / 'JPEGImages'} holds {asked}; it holds {', '.join(names) or 'nothing'}")
    largest = max(names, key=lambda n: natural_order(Path("".join(c for c in n if c.isdecimal()) or "0")))
    return _USUAL if _USUAL in names else largest


def recognise_sintel(path: Path) -> Recognised | None:
    """Tell whether a folder holds sequences of Sintel."""
    root = path / "training" if (path / "training").is_dir() else path
    passes = [name for name in _PASSES if (root / name).is_dir()]
    if not passes:
        return None
    scenes = _folders(root / passes[0])
    truth = [name for name in KINDS if (root / name).is_dir()]
    frames = {name: len(images_in(root / passes[0] / name)) for name in scenes}
    if (path / "JPEGImages").is_dir():
        truth.append("DAVIS annotations beside it")
    facts = {
        "passes": ", ".join(passes),
        "sequences": ", ".join(f"{name} ({count} frames)" for name, count in frames.items()),
        "ground truth": ", ".join(truth) or "none",
    }
    missing = [n for n in ("camdata_left", "depth", "flow") if n not in truth]
    sequences = [SintelSequence(path, name, passes[0], root) for name in scenes[:3]]
    use = [f"dyn3d process {shell_word(sequence.source)}" for sequence in sequences]
    if "camdata_left" in truth:
        use += [_train("sintel", sequence) for sequence in sequences[:1]]
    return Recognised("Sintel", facts, missing, use)


def recognise_davis(path: Path) -> Recognised | None:
    """Tell whether a folder holds sequences of DAVIS."""
    if not (path / "JPEGImages").is_dir():
        return None
    folders = sorted(p for p in (path / "JPEGImages").glob("*/*") if p.is_dir())
    names = [f"{p.name} ({len(images_in(p))} frames)" for p in folders]
    facts = {"sequences": ", ".join(names) or "none"}
    missing = [] if (path / "Annotations").is_dir() else ["Annotations"]
    sequences = [DavisSequence(path, p.name, p.parent.name) for p in folders[:3]]
    use = [f"dyn3d process {shell_word(sequence.source)}" for sequence in sequences]
    use += [_train("davis", sequence) for sequence in sequences if sequence.clip.is_dir()][:1]
    return Recognised("DAVIS", facts, missing, use)


def _train(dataset: str, sequence: Sequence) -> str:
    data, name = shell_word(sequence.root), shell_word(sequence.name)
    return f"ns-train dyn3d-velocity-fast {dataset}-data --data {data} --sequence {name}"
