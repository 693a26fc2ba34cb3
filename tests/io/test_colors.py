"""Colours of decoded frames against the definitions of the formats, computed here the other way round."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from dyn3d_ns.io.colors import screen_colors
from dyn3d_ns.video.frames.decode import Source

BARS = np.array(
    [
        (200, 30, 30),
        (30, 200, 30),
        (30, 30, 200),
        (200, 200, 30),
        (30, 200, 200),
        (128, 128, 128),
        (40, 40, 40),
    ]
)
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
PQ, HLG, BT709, BT2020, P3 = 16, 18, 1, 9, 12


def light_of(colors: np.ndarray) -> np.ndarray:
    """Return sRGB's linear light."""
    value = colors / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def pq(nits: np.ndarray) -> np.ndarray:
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    """Return the signal of light on a screen of 1000 cd/m² in BT.2020 (gamma 1.2)."""
    share = nits / 1000
    luminance = share @ [0.2627, 0.6780, 0.0593]
    scene = share * luminance[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def convert(signal: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    colors = screen_colors(primaries, transfer)
    assert colors is not None
    return colors.apply(np.rint(65535 * signal[None]).astype(np.uint16))[0].astype(int)


def test_hdr_below_the_knee_is_what_was_filmed() -> None:
    nits = 203 * light_of(BARS) @ TO_2020.T
    for signal, transfer in ((pq(nits), PQ), (hlg(nits), HLG)):
        assert np.abs(convert(signal, BT2020, transfer) - BARS).max() <= 2
        # HDR that names no primaries is BT.2020.
        assert np.array_equal(convert(signal, 2, transfer), convert(signal, BT2020, transfer))


def test_highlights_keep_their_order_and_hue() -> None:
    nits = np.array([150.0, 203.0, 400.0, 700.0, 1000.0])
    for grey in (
        convert(pq(nits[:, None] * np.ones(3)), 9, PQ),
        convert(hlg(nits[:, None] * np.ones(3)), 9, HLG),
    ):
        assert (np.ptp(grey, axis=1) <= 1).all()
        assert (np.diff(grey[:, 0]) > 0).all()
        assert grey[-1, 0] == 255
        assert 235 <= grey[1, 0] <= 245, "the reference white leaves room above"
    orange = np.array([[1.0, 0.5, 0.1]]) * 900 @ TO_2020.T
    red, green, blue = light_of(convert(pq(orange), BT2020, PQ)[0])
    assert (green / red, blue / red) == pytest.approx((0.5, 0.1), abs=0.02)


def test_wide_gamuts_without_hdr() -> None:
    for matrix, primaries in ((TO_P3, P3), (TO_2020, BT2020)):
        linear = light_of(BARS) @ matrix.T
        signal = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.abs(convert(signal, primaries, BT709) - BARS).max() <= 2
        assert np.abs(255 * signal - BARS).max() > 15, "as they are they would be off"


def test_ordinary_colours_are_left_alone() -> None:
    assert all(screen_colors(p, t) is None for p in (1, 2, 5, 6, 7) for t in (1, 2, 6, 13, 14, 15))


def write(path, signal: np.ndarray, matrix: str, full: bool, deep: bool, tags: str) -> None:
    """Encode bars of R'G'B' in [0, 1], 16 pixels wide each, as Y'CbCr."""
    (kr, kb), bits, name = LUMA[matrix], 10 if deep else 8, "yuv420p10le" if deep else "yuv420p"
    y = signal @ [kr, 1 - kr - kb, kb]
    chroma = [(signal[:, 2] - y) / (2 - 2 * kb), (signal[:, 0] - y) / (2 - 2 * kr)]
    step, most = 1 << (bits - 8), (1 << bits) - 1
    rows = [y * most if full else (16 + 219 * y) * step]
    rows += [(q * most + (most + 1) / 2) if full else (128 + 224 * q) * step for q in chroma]
    with av.open(str(path), "w") as box:
        stream = box.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16 * len(signal), 32, name
        stream.options = {"crf": "4", "x264-params": tags}
        for _ in range(2):
            frame = VideoFrame(stream.width, 32, name)
            for plane, row, wide in zip(frame.planes, rows, (16, 8, 8), strict=True):
                values = np.zeros(
                    (plane.height, plane.line_size // (2 if deep else 1)), "u2" if deep else "u1"
                )
                values[:, : plane.width] = np.rint(np.repeat(row, wide))
                plane.update(values.tobytes())
            box.mux(stream.encode(frame))
        box.mux(stream.encode())


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", list(LUMA))
def test_matrix_range_and_depth_of_a_video(tmp_path, matrix: str, full: bool, deep: bool) -> None:
    tags = f"colorprim=bt709:transfer=bt709:colormatrix={matrix}:fullrange={'on' if full else 'off'}"
    write(tmp_path / "v.mov", BARS / 255, matrix, full, deep, tags)
    source = Source(tmp_path / "v.mov")
    image = next(iter(source.frames())).image[16, 8::16].astype(int)
    assert np.abs(image - BARS).max() <= 4
    assert source.notes == []


def test_an_hdr_video_is_tone_mapped_and_told(tmp_path) -> None:
    tags = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    signal = hlg(203 * light_of(BARS) @ TO_2020.T)
    write(tmp_path / "phone.mov", signal, "bt2020nc", False, True, tags)
    source = Source(tmp_path / "phone.mov")
    image = next(iter(source.frames())).image[16, 8::16].astype(int)
    assert np.abs(image - BARS).max() <= 6
    assert source.notes == [
        "phone.mov is HDR (HLG, BT.2020): its colours were tone-mapped to those of a standard screen (BT.709)"
    ]
