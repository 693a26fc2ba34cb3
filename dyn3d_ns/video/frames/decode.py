"""Frames out of a video or a folder of images, upright, one at a time, with their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES, natural_order

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL import Image

_FULL_FRAME_WIDTH_MM = 36.0
_FOCAL_TAG, _EXIF_IFD = 0xA405, 0x8769
_QUICKTIME_FOCAL = "com.apple.quicktime.camera.focal_length.35mm_equivalent"


class Frame(NamedTuple):
    """One decoded image."""

    number: int
    """Position in the video or in the sorted folder."""
    seconds: float
    image: UInt8[np.ndarray, "H W 3"]
    name: str = ""
    """Of the image in the folder; empty in a video."""


@dataclass
class Source:
    """A video or a folder; iterate :meth:`frames` once, then read what was found out on the way."""

    path: Path
    folder_fps: float = 24.0
    """Frames per second of a folder of images."""
    notes: list[str] = field(default_factory=list)
    """What could not be read."""
    focal_35mm: float | None = None
    """Focal length for a frame 36 mm wide, from EXIF or QuickTime metadata."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order of time.

        Raises:
            StageError: there is nothing that can be read; the message says what was found.
        """
        if not self.path.exists():
            raise StageError(f"{self.path} does not exist; give a video file or a folder of images")
        return self._folder() if self.path.is_dir() else self._video()

    def count_hint(self, limit: int | None) -> int | None:
        """Estimate how many frames there are, for a progress bar; None if the file does not say."""
        import av
        import av.error as av_error

        if self.path.is_dir():
            count = sum(p.suffix.lower() in IMAGE_SUFFIXES for p in self.path.iterdir())
        else:
            try:
                with av.open(str(self.path)) as container:
                    count = container.streams.video[0].frames if container.streams.video else 0
            except (av_error.FFmpegError, ValueError):
                # Reading the frames, which comes next, says what is wrong.
                return None
        return min(count, limit) if count and limit else count or None

    # -- a folder of images -------------------------------------------------------------------------

    def _folder(self) -> Iterator[Frame]:
        paths = sorted(
            (p for p in self.path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order
        )
        if not paths:
            raise StageError(
                f"{self.path} holds no image ({', '.join(IMAGE_SUFFIXES)}); give the folder with the frames"
            )
        unreadable: list[str] = []
        size: tuple[int, int] | None = None
        for number, path in enumerate(paths):
            image = self._read_image(path)
            if image is None:
                unreadable.append(path.name)
                continue
            if size is not None and image.shape[1::-1] != size:
                raise StageError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, but the frames before it are "
                    f"{size[0]}x{size[1]}; all frames of a clip share one size: crop or resize that one"
                )
            size = (image.shape[1], image.shape[0])
            yield Frame(number, number / self.folder_fps, image, path.name)
        if len(unreadable) == len(paths):
            raise StageError(f"none of the {len(paths)} images in {self.path} can be read")
        if unreadable:
            self.notes.append(_listing("image", "cannot be read and was left out", unreadable))

    def _read_image(self, path: Path) -> UInt8[np.ndarray, "H W 3"] | None:
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as image:
                if self.focal_35mm is None:
                    self.focal_35mm = _exif_focal(image)
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            return None

    # -- a video ------------------------------------------------------------------------------------

    def _video(self) -> Iterator[Frame]:
        import av
        import av.error as av_error

        if self.path.stat().st_size == 0:
            raise StageError(f"{self.path} is empty; give a video file or a folder of images")
        try:
            container = av.open(str(self.path))
        except (av_error.FFmpegError, ValueError) as error:
            raise StageError(f"{self.path} is not a video that can be read: {error}") from error
        with container:
            if not container.streams.video:
                raise StageError(f"{self.path} holds no video stream; give a video file")
            focal = container.metadata.get(_QUICKTIME_FOCAL)
            self.focal_35mm = float(focal) if focal and re.fullmatch(r"\d+(\.\d+)?", focal) else None
            yield from self._decode(container)

    def _decode(self, container: InputContainer) -> Iterator[Frame]:
        import av.error as av_error

        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or stream.guessed_rate or 24)
        number, damaged, start, last = 0, 0, None, -1.0
        packets = container.demux(stream)
        ended = False
        while not ended:
            try:
                packet = next(packets)
                decoded = packet.decode()
            except StopIteration:
                break
            except av_error.FFmpegError:
                damaged += 1
                # A damaged packet is passed over; where the file itself breaks off, the reader cannot go on.
                ended = damaged > 100
                continue
            for frame in decoded:
                seconds = frame.time if frame.time is not None else number / rate
                start = seconds if start is None else start
                seconds = seconds - start if seconds - start > last else last + 1 / rate
                last = seconds
                if not getattr(frame, "is_corrupt", False):
                    yield Frame(number, seconds, _upright(frame, stream.sample_aspect_ratio))
                else:
                    damaged += 1
                number += 1
        if number == 0:
            raise StageError(f"{self.path} is a video, but not one frame of it can be decoded")
        if damaged:
            self.notes.append(f"{damaged} damaged part(s) of {self.path.name} could not be decoded")
        self._check_length(container, number, last + 1 / rate)

    def _check_length(self, container: InputContainer, number: int, seconds: float) -> None:
        """Note a file that states more frames, or more seconds, than it holds."""
        stream = container.streams.video[0]
        if stream.frames > number + 1:
            self.notes.append(
                f"{self.path.name} states {stream.frames} frames, but only {number} can be decoded: "
                "it is cut short"
            )
            return
        stated = _stated_seconds(container)
        if stated is not None and stated > seconds + max(0.25, 0.02 * stated):
            self.notes.append(
                f"{self.path.name} states {stated:.1f} s, but only {seconds:.1f} s can be decoded: "
                "it is cut short"
            )


def _stated_seconds(container: InputContainer) -> float | None:
    """Return the length that a file states for its video; None where it states none."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag is not None:
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    # Sound may be longer than the pictures.
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1e6 if alone and container.duration is not None else None


def focal_in_pixels(focal_35mm: float | None, width: int, height: int) -> float | None:
    """Turn a focal length for a frame 36 mm wide into pixels of an image."""
    return None if not focal_35mm else focal_35mm / _FULL_FRAME_WIDTH_MM * max(width, height)


def _upright(frame: object, aspect: object) -> UInt8[np.ndarray, "H W 3"]:
    """Return a decoded frame as RGB, turned as its metadata say and with square pixels."""
    import cv2

    image = frame.to_ndarray(format="rgb24")  # type: ignore[attr-defined]
    ratio = float(aspect) if aspect else 1.0  # type: ignore[arg-type]
    if ratio > 0 and abs(ratio - 1) > 1e-3:
        width = max(round(image.shape[1] * ratio), 1)
        image = cv2.resize(image, (width, image.shape[0]), interpolation=cv2.INTER_AREA)
    # The metadata give the turn to the left that shows the picture upright.
    turns = round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns))


def _exif_focal(image: Image.Image) -> float | None:
    value = image.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_TAG)
    try:
        return float(value) or None if value is not None else None
    except (TypeError, ValueError):
        return None


def _listing(noun: str, verb: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {noun}(s) {verb}: {shown}"
