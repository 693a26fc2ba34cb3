"""Colours of decoded video frames as a standard screen shows them: BT.709 primaries, sRGB's curve, 8 bits.

Frames in ordinary colours are taken as they are. HDR (HLG, PQ) is brought to light relative to the reference
white of 203 cd/m² (ITU-R BT.2408), highlights up to 1000 cd/m² are rolled off above three quarters of it, and
wide gamuts (BT.2020, P3) become BT.709 in linear light, all without a change of neutral greys below the knee.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.codeccontext import VideoCodecContext

_FULL_CHROMA = 0x4 | 0x2000 | 0x4000 | 0x40000
"""libswscale's BICUBIC, FULL_CHR_H_INT, FULL_CHR_H_INP and ACCURATE_RND; PyAV 17 names only the first, and
spoils 16 bits without the last."""
_PQ, _HLG = 16, 18
_ORDINARY = frozenset({1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15})
"""Numbers of transfer functions (ITU-T H.273) whose values a standard screen shows as they are."""
_TRANSFERS = {_PQ: "PQ", _HLG: "HLG", 8: "linear light", 9: "log", 10: "log", 17: "SMPTE 428"}
_BT2020, _P3_CINEMA, _P3 = 9, 11, 12
_GAMUTS = {_BT2020: "BT.2020", _P3_CINEMA: "DCI-P3", _P3: "Display P3"}
_D65 = (0.3127, 0.3290)
_BT709_XY = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_P3_XY = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_XY = {_BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _P3_CINEMA: _P3_XY, _P3: _P3_XY}
_UNKNOWN_MATRIX, _BT2020_MATRIX = 2, 9
_ODD_MATRICES = {8: "YCgCo", 14: "ICtCp", 15: "IPT-C2"}
"""Matrices that libswscale does not undo."""
_WHITE, _PEAK = 203.0, 1000.0
"""cd/m² of the reference white, and of the screen that HDR is graded for."""
_KNEE, _SYSTEM_GAMMA = 0.75, 1.2
_LEVELS, _FINE = 4096, 16384
_STRIP = 1 << 16
"""Pixels that are converted at a time, so that what lies between stays in the processor's cache."""


@dataclass(frozen=True)
class ScreenColors:
    """How the R'G'B' of a colour space becomes that of a standard screen."""

    primaries: int
    transfer: int

    @property
    def name(self) -> str:
        """Name of the colour space, for people."""
        gamut = _GAMUTS.get(self.primaries, "BT.709")
        return f"HDR ({_TRANSFERS[self.transfer]}, {gamut})" if self._is_hdr else gamut

    @property
    def note(self) -> str:
        """What is done, to follow the name of a file."""
        if self._is_hdr:
            return f"is {self.name}: its colours were tone-mapped to those of a standard screen (BT.709)"
        return f"has {self.name} colours: they were converted to those of a standard screen (BT.709)"

    def apply(self, image: UInt16[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """Convert an image of 16 bits a channel."""
        import cv2

        flat = image.reshape(-1, 1, 3)
        out = np.empty(flat.shape, np.uint8)
        for start in range(0, len(flat), _STRIP):
            light = self._light[flat[start : start + _STRIP] >> 4]
            if self.transfer == _HLG:
                # The screen's share: its gamma acts on luminance (BT.2100).
                luminance = cv2.transform(light, self._luminance)
                light *= np.maximum(luminance, 1e-6).reshape(-1, 1, 1) ** np.float32(_SYSTEM_GAMMA - 1)
            light = cv2.transform(light, self._matrix)
            if self._is_hdr:
                light *= _roll_off(light.max(axis=-1, keepdims=True))
            index = np.clip(light * np.float32(_FINE - 1) + np.float32(0.5), 0, _FINE - 1).astype(np.uint16)
            out[start : start + _STRIP] = _encoding()[index]
        return out.reshape(image.shape)

    @property
    def _is_hdr(self) -> bool:
        return self.transfer in (_PQ, _HLG)

    @cached_property
    def _light(self) -> Float32[np.ndarray, "L"]:
        """Light of each level, 1 = reference white; for HLG that of the scene, to which the gamma is due."""
        value = np.arange(_LEVELS) / (_LEVELS - 1)
        if self.transfer == _PQ:
            root = value ** (32 / 2523)
            found = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
                16384 / 2610
            )
            return (found / _WHITE).astype(np.float32)
        if self.transfer == _HLG:
            high = (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
            scene = np.where(value <= 0.5, value**2 / 3, high)
            # The luminance of the gamma is relative to the scene's peak; its factor is taken in here.
            return (scene * (_PEAK / _WHITE) ** (1 / _SYSTEM_GAMMA)).astype(np.float32)
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)

    @cached_property
    def _matrix(self) -> Float32[np.ndarray, "3 3"]:
        if self.primaries not in _XY:
            return np.eye(3, dtype=np.float32)
        return np.linalg.solve(_to_xyz(_BT709_XY), _to_xyz(_XY[self.primaries])).astype(np.float32)

    @cached_property
    def _luminance(self) -> Float32[np.ndarray, "1 3"]:
        return _to_xyz(_XY.get(self.primaries, _BT709_XY))[1:2].astype(np.float32)


@lru_cache(maxsize=16)
def screen_colors(primaries: int, transfer: int) -> ScreenColors | None:
    """Return the conversion from a colour space, by its numbers in ITU-T H.273; None of an ordinary one."""
    if transfer in (_PQ, _HLG):
        return ScreenColors(primaries if primaries != 2 else _BT2020, transfer)
    return ScreenColors(primaries, 1) if primaries in _XY and transfer in _ORDINARY else None


def colors_of(context: VideoCodecContext) -> ScreenColors | None:
    """Return the conversion that a stream needs, as it states its colours."""
    return screen_colors(int(context.color_primaries), int(context.color_trc))


def color_notes(frame: VideoFrame, context: VideoCodecContext) -> list[str]:
    """Tell what is done to a stream's colours, and what cannot be; the name of the file comes before."""
    colors, transfer = colors_of(context), int(context.color_trc)
    notes = [] if colors is None else [colors.note]
    if colors is None and transfer in _TRANSFERS:
        notes.append(
            f"states {_TRANSFERS[transfer]} values: they are taken as they are; export it as SDR (BT.709) "
            "for true colours"
        )
    matrix = _ODD_MATRICES.get(int(frame.colorspace))
    if matrix is not None:
        notes.append(f"is coded as {matrix}, which is not undone; export it as SDR (BT.709) for true colours")
    if any(component.is_alpha for component in frame.format.components):
        notes.append("has transparency, which is left out")
    if frame.interlaced_frame:
        notes.append(
            "is interlaced: odd and even rows show two moments; `ffmpeg -i IN -vf bwdif OUT` takes them apart"
        )
    return notes


def rgb_of(frame: VideoFrame, colors: ScreenColors | None, full_chroma: bool = False) -> np.ndarray:
    """Convert a decoded frame to RGB by its matrix and range, and to the colours of a standard screen.

    A frame that states no matrix has BT.601's, as for ffmpeg and OpenCV, or BT.2020's if it is HDR.

    Args:
        frame: As it is decoded.
        colors: Its colour space, see :func:`colors_of`.
        full_chroma: Interpolate chroma, and round rather than cut off; more than 8 bits always are.
    """
    deep = frame.format.components[0].bits > 8
    options = {"interpolation": _FULL_CHROMA} if full_chroma or deep or colors is not None else {}
    if colors is None:
        return frame.reformat(format="rgb24", **options).to_ndarray()
    if int(frame.colorspace) == _UNKNOWN_MATRIX and colors.primaries == _BT2020:
        frame.colorspace = _BT2020_MATRIX
    return colors.apply(frame.reformat(format="rgb48le", **options).to_ndarray())


def _roll_off(brightest: Float32[np.ndarray, "P 1 1"]) -> Float32[np.ndarray, "P 1 1"]:
    """Return the factor that brings light below 1: straight to the knee, then by Reinhard's curve."""
    over = np.maximum(brightest - np.float32(_KNEE), 0) / np.float32(1 - _KNEE)
    most = np.float32((_PEAK / _WHITE - _KNEE) / (1 - _KNEE))
    curve = over * (1 + over / most**2) / (1 + over)
    kept = np.where(over > 0, np.minimum(_KNEE + (1 - _KNEE) * curve, 1), brightest)
    return (kept / np.maximum(brightest, np.float32(1e-6))).astype(np.float32)


@lru_cache(maxsize=1)
def _encoding() -> UInt8[np.ndarray, "L"]:
    """Return sRGB's value of each of the fine levels of linear light."""
    light = np.arange(_FINE) / (_FINE - 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * value).astype(np.uint8)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> Float64[np.ndarray, "3 3"]:
    """Return the matrix from linear RGB of these primaries and a white of D65 to XYZ."""

    def xyz(x: float, y: float) -> tuple[float, float, float]:
        return x / y, 1.0, (1 - x - y) / y

    columns = np.array([xyz(*xy) for xy in primaries]).T
    return columns * np.linalg.solve(columns, np.array(xyz(*_D65)))
