"""`dyn3d stream`: what is in a stream, whether it is whole, a part of it, its frames as PLY files."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from dyn3d_ns.io.stream.header import StreamHeader
    from dyn3d_ns.io.stream.reader import StreamReader

DAMAGED = 1
"""Exit status of `dyn3d stream verify` for a stream that is not as it was written."""

StreamPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STREAM")]


@dataclass
class StreamInfo:
    """Say what is in a stream: frames, keyframes and bytes."""

    stream: StreamPath
    """Folder of a stream, or the folder or config.yml of the training that writes it."""

    def run(self) -> None:
        """Print the description."""
        from dyn3d_ns.io.stream.header import find_stream
        from dyn3d_ns.io.stream.reader import StreamReader

        reader = StreamReader(find_stream(self.stream))
        for name, value in facts(reader).items():
            print(f"{name:22} {value}")


@dataclass
class VerifyStream:
    """Check every checksum of a stream and play all its frames; exit status 1 if anything is damaged."""

    stream: StreamPath
    """Folder of a stream, or the folder or config.yml of the training that writes it."""

    def run(self) -> None:
        """Print what is damaged.

        Raises:
            SystemExit: something is damaged (status 1).
        """
        from rich.progress import track

        from dyn3d_ns.io.stream.decoders import decoder_of
        from dyn3d_ns.io.stream.header import HEADER_NAME, find_stream
        from dyn3d_ns.io.stream.reader import StreamReader
        from dyn3d_ns.io.stream.verify import verify_stream

        reader = StreamReader(find_stream(self.stream))
        count, keys = reader.num_frames(), len(reader.keyframes())
        gap, decoder = reader.gap(), decoder_of(reader.header)
        checked = verify_stream(reader, decoder) if count or not gap else ()
        damaged = []
        for frame, problems in track(
            checked, "Checking", total=max(count, 1), transient=True, disable=count < 50
        ):
            for problem in problems:
                damaged.append(frame)
                print(problem, file=sys.stderr)
        if gap:
            damaged.append(count)
            print(f"{reader.folder}: {gap}", file=sys.stderr)
        planned = reader.header.planned_frames
        if count > planned:
            damaged.append(planned)
            print(
                f"{reader.folder / HEADER_NAME}: it plans {planned} frames, {count} are there",
                file=sys.stderr,
            )
        if damaged:
            print(f"{reader.folder}: the first damaged frame is {min(damaged)}", file=sys.stderr)
            raise SystemExit(DAMAGED)
        more = f"; {planned - count} more are planned" if planned > count else ""
        frames, keyframes = f"{count} frame{'s' * (count != 1)}", f"{keys} keyframe{'s' * (keys != 1)}"
        print(f"{reader.folder}: {frames} and {keyframes} are whole{more}")


@dataclass
class CutStream:
    """Cut a range of frames out of a stream; what it shows stays the same bit for bit."""

    stream: StreamPath
    """Folder of a stream, or the folder or config.yml of the training that writes it."""
    frames: tuple[int, int]
    """First and last frame to keep, counted from 0."""
    output: Path
    """Folder for the new stream; a new or empty one."""

    def run(self) -> None:
        """Write the new stream.

        Raises:
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        from rich.progress import track

        from dyn3d_ns.engine.interrupt import exit_code, sigterm_as_exception
        from dyn3d_ns.io.stream.cut import cut_stream
        from dyn3d_ns.io.stream.decoders import decoder_of
        from dyn3d_ns.io.stream.header import find_stream
        from dyn3d_ns.io.stream.reader import StreamReader

        reader = StreamReader(find_stream(self.stream))
        decoder = decoder_of(reader.header)
        first, last = self.frames
        count = last - first + 1
        cutting = cut_stream(reader, decoder, first, last, self.output)
        try:
            # Closed at once when it is stopped, so that what it has written is removed.
            with sigterm_as_exception(), closing(cutting) as written:
                for _ in track(written, "Writing", total=count, transient=True, disable=count < 50):
                    pass
        except KeyboardInterrupt as stop:
            print(f"stopped; nothing of {self.output} is kept", file=sys.stderr)
            raise SystemExit(exit_code(stop)) from None
        print(f"{self.output}: {count} frames, {StreamReader(self.output).sizes().total} bytes")


@dataclass(kw_only=True)
class BakeStream:
    """Write one 3DGS PLY per frame of a stream of Gaussians, which splat viewers open."""

    stream: StreamPath
    """Folder of a stream, or the folder or config.yml of the training that writes it."""
    output_dir: Path
    """Folder for frame_00000.ply and so on."""
    frames: tuple[int, int] | None = None
    """First and last frame, counted from 0; all of them if not given."""
    every: int = 1
    """Write every so many of them."""
    overwrite: bool = False
    """Replace files of these names that are there already."""

    def run(self) -> None:
        """Write the files."""
        from rich.progress import track

        from dyn3d_ns.cli.errors import CommandError, require_writable
        from dyn3d_ns.gaussians.bake import bake_frame, ply_name
        from dyn3d_ns.gaussians.lattice import KIND, decoder_of
        from dyn3d_ns.io.stream.header import find_stream
        from dyn3d_ns.io.stream.player import StreamPlayer
        from dyn3d_ns.io.stream.reader import StreamReader

        reader = StreamReader(find_stream(self.stream))
        if reader.header.kind != KIND:
            raise CommandError(
                f"{reader.folder} is a stream of {reader.header.kind}: only {KIND} can be written as PLY"
            )
        frames = self._frames(reader)
        require_writable(self.output_dir, "--output-dir")
        there = [name for name in map(ply_name, frames) if (self.output_dir / name).exists()]
        if there and not self.overwrite:
            raise CommandError(
                f"{self.output_dir} holds {there[0]} already, and {len(there) - 1} more of the {len(frames)} "
                "files to write: give another --output-dir, or --overwrite"
            )
        decoder = decoder_of(reader.header)
        player = StreamPlayer(reader, decoder)
        size = 0
        for frame in track(frames, "Writing", transient=True):
            path = bake_frame(player, decoder.lattice, frame, self.output_dir)
            size += path.stat().st_size
        print(f"{self.output_dir}: {len(frames)} files, {size / 1e6:.1f} MB")

    def _frames(self, reader: StreamReader) -> range:
        from dyn3d_ns.cli.errors import CommandError

        last = reader.num_frames() - 1
        if last < 0:
            raise CommandError(f"{reader.folder} has no frame yet")
        first, end = self.frames or (0, last)
        if not 0 <= first <= end <= last:
            raise CommandError(f"--frames must lie in 0 to {last}, first before last; got {first} {end}")
        if self.every < 1:
            raise CommandError(f"--every must be at least 1, got {self.every}")
        return range(first, end + 1, self.every)


@dataclass
class Stream:
    """Look into a stream of deltas, check it, cut a part out of it, or write its frames as PLY files."""

    what: (
        Annotated[StreamInfo, tyro.conf.subcommand("info")]
        | Annotated[VerifyStream, tyro.conf.subcommand("verify")]
        | Annotated[CutStream, tyro.conf.subcommand("cut")]
        | Annotated[BakeStream, tyro.conf.subcommand("bake")]
    )

    def run(self) -> None:
        """Run the command."""
        self.what.run()


def facts(reader: StreamReader) -> dict[str, str]:
    """Return what there is to say about a stream; bytes are those of its files, headers included."""
    header, count = reader.header, reader.num_frames()
    found = {"kind": header.kind, "frames": f"{count} of {header.planned_frames}", "fps": f"{header.fps:g}"}
    if gap := reader.gap():
        found["cannot be played"] = gap
    if short := reader.cut_short():
        found["empty or cut short"] = f"{listed(short)}; `dyn3d stream verify` says what is damaged"
    found |= {f"decoder {name}": in_short(header, name) for name in header.decoder}
    if not count:
        return found
    sizes = reader.sizes()
    found["keyframes"] = ", ".join(map(str, sizes.keys)) or "none"
    found["bytes of frame 0"] = str(sizes.init)
    found["bytes of deltas"] = str(sum(sizes.deltas))
    found["bytes of keyframes"] = str(sum(sizes.keys.values()))
    found["bytes a frame"] = f"{sizes.per_frame:.0f}"
    if sizes.deltas:
        found["without frame 0"] = f"{sizes.per_later_frame:.0f}"
        found["without keyframes too"] = f"{sum(sizes.deltas) / len(sizes.deltas):.0f}"
    return found


def in_short(header: StreamHeader, name: str) -> str:
    """Return an entry of the header's `decoder` for people: numbers rounded, many of them only counted."""
    from dyn3d_ns.io.errors import DamagedFileError
    from dyn3d_ns.io.stream.look import CAMERA, start_camera_of

    text = str(header.decoder[name])
    if name == CAMERA:
        try:
            camera = start_camera_of(header)
        except DamagedFileError as error:
            return str(error)
        assert camera is not None
        place = " ".join(f"{x:.3g}" for x in camera.pose[:, 3])
        return f"{camera.width}x{camera.height}, focal length {camera.fx:.4g} pixels, at {place}"
    words = text.split()
    try:
        rounded = [f"{float(word):.4g}" if "." in word else str(int(word)) for word in words]
    except ValueError:
        return text
    return " ".join(rounded) if len(rounded) <= 6 else f"{len(rounded)} numbers"


def listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
