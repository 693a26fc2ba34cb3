"""Formats of one instant: a file for the only time asked for, or a folder with one for each."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dyn3d_ns.export.written import Written, even_rate, require_space
from dyn3d_ns.io.atomic import write_bytes
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About, Splats, SplatSequence

Encode = Callable[[Splats, About], bytes]
"""A format: an instant as the bytes of a file."""


def write_instants(
    sequence: SplatSequence, path: Path, names: Sequence[str], suffix: str, encode: Encode, loss: str
) -> Written:
    """Write one file an instant; all of them appear at the end, or none does.

    Args:
        sequence: Gaussians over time.
        path: A file, where it ends in ``suffix`` and there is one time; otherwise a folder.
        names: Name of each time, of one prefix and as many digits, as SuperSplat wants it for a sequence.
        suffix: Of the files, with its dot.
        encode: The format.
        loss: What it does not hold.

    Raises:
        CommandError: several times go to one file, the folder holds other files of the same kind, or the disk
            is full.
    """
    encoded = _encoded(sequence, len(names), encode)
    if path.suffix.lower() == suffix:
        if len(names) > 1:
            raise CommandError(
                f"{path} is one file, and {len(names)} times were asked for: give a folder with --output, or "
                "one time with --times"
            )
        content = next(encoded)
        require_space(path.parent, len(content))
        write_bytes(path, content)
        return Written(path, len(content), loss)
    size = _write_folder(path, [f"{name}{suffix}" for name in names], encoded)
    rate, note = even_rate(sequence), ""
    if len(names) > 1:
        note = (
            "the times of the files are not evenly spaced, as viewers of sequences take them to be"
            if rate is None
            else f"the files follow each other at {rate:g} a second"
        )
    return Written(path, size, loss, note)


def _encoded(sequence: SplatSequence, count: int, encode: Encode) -> Iterator[bytes]:
    """Encode one time after the other, two at once: what compresses lets other threads work."""
    with ThreadPoolExecutor(2) as pool:
        begun: deque[Future[bytes]] = deque()
        for index in range(count):
            begun.append(pool.submit(encode, sequence.at(index), sequence.about))
            if len(begun) > 2:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def require_free(folder: Path, names: Sequence[str], suffix: str) -> None:
    """Refuse a folder in which other files would be taken for a part of the sequence.

    Raises:
        CommandError: there are some, or a folder has the name of a file.
    """
    if not folder.is_dir() or not names:
        return
    for name in names:
        path = folder / f"{name}{suffix}"
        if path.is_dir():
            raise CommandError(
                f"{path} is a folder where a file is to be written: remove it, or give another place with "
                "--output"
            )
    prefix, new = names[0].rstrip("0123456789"), {f"{name}{suffix}" for name in names}
    others = sorted(
        path.name
        for path in folder.glob(f"*{suffix}")
        if path.name not in new and path.stem.rstrip("0123456789") == prefix
    )
    if others:
        raise CommandError(
            f"{folder} holds {len(others)} files of another export ({others[0]}), which viewers would play "
            "with these: remove them, or give another place with --output"
        )


def _write_folder(folder: Path, names: Sequence[str], contents: Iterator[bytes]) -> int:
    """Write files beside a folder and move them in together; return their size."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    waiting = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        for name, content in zip(names, contents, strict=True):
            if not total:
                require_space(folder, len(content) * len(names))
            (waiting / name).write_bytes(content)
            total += len(content)
        folder.mkdir(exist_ok=True)
        for name in names:
            (waiting / name).replace(folder / name)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return total
