"""The pictures of a video file: which of its tracks, how long it is, and its frames as upright RGB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.colors import ScreenColors, color_notes, colors_of, rgb_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream


def picture_stream(container: InputContainer) -> tuple[VideoStream | None, str | None]:
    """Choose the video track of a file: of those in colour that run long enough, the largest.

    Cover art, thumbnails and still images count only where there is nothing else; tracks shorter than half
    of the longest, or in grey (depth, infrared), do not come before others.

    Returns:
        The track (None: there is none), and what is to be said of others, to follow the file's name.
    """
    streams = list(container.streams.video)
    if not streams:
        return None, None
    longest = max(_seconds(stream) or 0.0 for stream in streams)

    def rank(stream: VideoStream) -> tuple[float, ...]:
        seconds = _seconds(stream)
        lasts = seconds is None or seconds >= 0.5 * longest
        grey = (stream.codec_context.pix_fmt or "").startswith("gray")
        area = stream.codec_context.width * stream.codec_context.height
        return not _is_still(stream), not grey, lasts, area, bool(stream.disposition & 1), seconds or 0.0

    chosen = max(streams, key=rank)
    others = [stream for stream in streams if stream is not chosen and not _is_still(stream)]
    if not others:
        return chosen, None
    left = ", ".join(_named(stream, streams) for stream in others)
    first = streams.index(others[0])
    return chosen, (
        f"holds {len(others) + 1} video tracks: {_named(chosen, streams)} is taken, {left} left out "
        f"(`ffmpeg -i IN -map 0:v:{first} -c copy OUT` takes that one out)"
    )


def stated_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the length that a file states for its video; None where it states none."""
    seconds = _seconds(stream)
    if seconds is not None:
        return seconds
    # Sound may be longer than the pictures.
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1e6 if alone and container.duration is not None else None


def stated_frames(stream: VideoStream) -> int | None:
    """Return how many frames a file states that are shown; None where it states none.

    A clip that was trimmed without being coded anew counts those that are cut away, too: its length tells.
    """
    seconds, rate = _seconds(stream), stream.average_rate
    if not stream.frames or seconds is None or not rate:
        return stream.frames or None
    return min(stream.frames, max(round(seconds * float(rate)), 1))


def shown_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the packets that hold a frame to show: those before and after a trimmed clip are not."""
    return (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)


class Pictures:
    """Turns decoded frames of a track into RGB: colours of a standard screen, upright, square pixels."""

    def __init__(self, stream: VideoStream, full_chroma: bool = False) -> None:
        """Take a track.

        Args:
            stream: The track.
            full_chroma: Interpolate chroma, and round rather than cut off; see :func:`rgb`.
        """
        self._context, self._full_chroma = stream.codec_context, full_chroma
        ratio = float(stream.sample_aspect_ratio or 1)
        self._aspect = ratio if 1 / 8 < ratio < 8 and abs(ratio - 1) > 1e-3 else 1.0

    def notes(self, frame: VideoFrame) -> list[str]:
        """Tell what is odd about the colours, by the first frame; the file's name comes before."""
        return color_notes(frame, self._context)

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return width and height of a frame's picture."""
        width = round(frame.width * self._aspect)
        return (frame.height, width) if _turns(frame) % 2 else (width, frame.height)

    def rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """Convert a frame.

        The fast default repeats coarse chroma and darkens by 1/255: 3 dB of noise that no scene explains.
        With full chroma, that of 4:2:0 counts as centred between its pixels, as encoders fed from RGB and
        fast decoders have it.
        """
        import cv2

        image = self._rgb(frame, colors_of(self._context))
        width = round(frame.width * self._aspect)
        if width != frame.width:
            image = np.asarray(cv2.resize(image, (width, frame.height), interpolation=cv2.INTER_AREA))
        return np.ascontiguousarray(np.rot90(image, _turns(frame)))

    def _rgb(self, frame: VideoFrame, colors: ScreenColors | None) -> np.ndarray:
        from av import VideoFrame

        if self._full_chroma and frame.format.name in ("yuv420p", "yuvj420p"):
            # H.264 that names no place decodes as "left", which costs 2 dB; a new frame has no place.
            centred = VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
            centred.colorspace, centred.color_range = frame.colorspace, frame.color_range
            frame = centred
        return rgb_of(frame, colors, self._full_chroma)


def _turns(frame: VideoFrame) -> int:
    """Return the quarter turns to the left that show a frame upright, as its metadata say."""
    return round(float(frame.rotation or 0) / 90) % 4


def _is_still(stream: VideoStream) -> bool:
    """Tell cover art, thumbnails and still images from videos."""
    return bool(stream.disposition & (1024 | 2048 | 1048576))


def _seconds(stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) if tag is not None else None


def _named(stream: VideoStream, streams: list[VideoStream]) -> str:
    context = stream.codec_context
    return f"number {streams.index(stream)} ({context.width}x{context.height})"
