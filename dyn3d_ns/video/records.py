"""What was done, and whether it still holds: one small JSON file a stage, keyed by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.damage import CONTENT_ERRORS
from dyn3d_ns.video.stage import Stage

FileState = tuple[int, int, str]
"""Size, time of change in nanoseconds, digest of the content."""


@dataclass
class Record:
    """A finished stage: what it depended on and what it wrote."""

    fingerprint: str
    """Digest of the inputs' contents, the settings and the stage's version."""
    files: dict[str, FileState]
    """Every file of the result, relative to the clip's folder."""
    own: list[str] = field(default_factory=list)
    """Those that the stage wrote itself, and may remove."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    given: bool = False
    """The files came from elsewhere."""

    @property
    def digest(self) -> str:
        """Digest of the contents of all files."""
        return _hash(json.dumps(sorted((name, state[2]) for name, state in self.files.items())))


class Records:
    """The records of one clip's folder."""

    def __init__(self, workspace: Workspace) -> None:
        self.root = workspace.root
        self.folder = workspace.cache_dir
        self.manifest_path = workspace.manifest_path
        self._runners_own = (workspace.transforms_path, workspace.points_ply_path, workspace.manifest_path)

    def read(self, stage: str) -> Record | None:
        """Return the record of a stage; None if it never finished, or its record cannot be read."""
        try:
            values = json.loads((self.folder / f"{stage}.json").read_text(encoding="utf-8"))
            values["files"] = {name: tuple(state) for name, state in values["files"].items()}
            return Record(**values)
        except (OSError, *CONTENT_ERRORS):
            return None

    def write(self, stage: str, record: Record) -> None:
        """Keep the record of a finished stage."""
        write_json(self.folder / f"{stage}.json", asdict(record), indent=None)
        (self.folder / f"{stage}.running").unlink(missing_ok=True)

    def manifest_stages(self) -> dict[str, object]:
        """Return what the manifest of earlier runs says of each stage; nothing if it cannot be read."""
        try:
            return dict(json.loads(self.manifest_path.read_text(encoding="utf-8"))["stages"])
        except (OSError, *CONTENT_ERRORS):
            return {}

    def begin(self, stage: str) -> None:
        """Forget a stage's record and mark it as running; its own earlier files are removed."""
        record = self.read(stage)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{stage}.running").touch()
        (self.folder / f"{stage}.json").unlink(missing_ok=True)
        for name in record.own if record is not None else ():
            (self.root / name).unlink(missing_ok=True)

    def is_half_done(self, stage: str) -> bool:
        """Whether the stage was begun and not finished."""
        return (self.folder / f"{stage}.running").is_file()

    def refresh(self, stage: str, record: Record) -> tuple[Record, list[str], list[str]]:
        """Compare a record with the files on disk.

        Returns:
            The record with the present state of the files, those that are missing, and those whose content
            is another than what was written.
        """
        missing, changed, files = [], [], {}
        for name, old in record.files.items():
            path = self.root / name
            if not path.is_file():
                missing.append(name)
                continue
            files[name] = self.state(path, old)
            if files[name][2] != old[2]:
                changed.append(name)
        record.files = files
        return record, missing, changed

    def state(self, path: Path, old: FileState | None = None) -> FileState:
        """Return a file's state; reads its content only where size or time are not those of ``old``."""
        stat = path.stat()
        if old is not None and (stat.st_size, stat.st_mtime_ns) == old[:2]:
            return old
        return stat.st_size, stat.st_mtime_ns, digest_of_file(path)

    def listing(self) -> dict[str, tuple[int, int]]:
        """List all files of the clip's folder, the runner's own left out, with size and time of change."""
        found = {}
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            own = self.folder in path.parents or path in self._runners_own or name.endswith(".tmp")
            if not own and path.is_file():
                stat = path.stat()
                found[name] = (stat.st_size, stat.st_mtime_ns)
        return found

    def states(self, names: Iterable[str]) -> dict[str, FileState]:
        """Return the states of files of the clip's folder."""
        return {name: self.state(self.root / name) for name in sorted(names)}

    def fingerprint(self, stage: Stage) -> str:
        """Digest all that the result of a stage depends on."""
        inputs: dict[str, Any] = {}
        for name in (*stage.needs, *stage.uses):
            record = self.read(name)
            inputs[name] = record.digest if record is not None else None
        external = [(path.name, digest_of_path(path)) for path in stage.external_inputs()]
        content = [stage.name, stage.version, inputs, external, plain(stage.settings)]
        other = stage.other_inputs()
        content += [] if other is None else [other]
        return _hash(json.dumps(content, sort_keys=True))


def plain(value: Any) -> Any:
    """Turn settings into JSON types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in vars(value).items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def digest_of_path(path: Path) -> str | None:
    """Digest the content of a file, or the names and contents of a folder; None where there is neither."""
    if path.is_file():
        return digest_of_file(path)
    if not path.is_dir():
        return None
    return _hash(json.dumps([(p.name, digest_of_file(p)) for p in sorted(path.iterdir()) if p.is_file()]))


def digest_of_file(path: Path) -> str:
    """Digest a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
