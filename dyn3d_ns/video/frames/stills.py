"""Single images as frames: upright, 8 bits, sRGB, whatever depth, profile and transparency they have."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageCms

from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.images import deep_values, depth_of, exif_of, is_deep, of_8_bits, to_8_bits, upright
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES, files_in, images_in, videos_in
from dyn3d_ns.io.series import picture_series

_FOCAL_TAG, _EXIF_IFD = 0xA405, 0x8769
_NOT_READ = (".heic", ".heif", ".exr", ".hdr", ".dng", ".avif", ".gif", ".npy", ".cr2", ".nef", ".arw")
_NARROW = 1 / 8
"""Share of the values below which a clip of 16 bits shows too little once it has 8."""


class Stills:
    """Decodes images of one clip alike, and remembers what is to be said of them."""

    def __init__(self) -> None:
        self.focal_35mm: float | None = None
        """Focal length for a frame 36 mm wide, from the first image that states one."""
        self._bits, self._range = 16, (0, 0)
        self._deep = 0
        self._transparent: list[str] = []
        self._profiles: list[str] = []
        self._several: list[str] = []
        self._unreadable: list[str] = []
        self._reason = ""

    def measure(self, deep: Iterable[UInt16[np.ndarray, "H W *c"]]) -> None:
        """Find out how many bits values of more than 8 bits use: cameras of 12 store up to 4095."""
        lows, highs = [], []
        for values in deep:
            lows.append(int(values.min()))
            highs.append(int(values.max()))
        if highs:
            self._deep, self._range = len(highs), (min(lows), max(highs))
            self._bits = depth_of(max(highs))

    def read(self, path: Path) -> UInt8[np.ndarray, "H W 3"] | None:
        """Decode a file; None if that is impossible, which the notes will say."""
        try:
            with Image.open(path) as image:
                if getattr(image, "is_animated", False) and image.format != "MPO":
                    self._several.append(path.name)
                return self.decode(image, path.name)
        except image_errors() as error:
            self._unreadable.append(path.name)
            self._reason = self._reason or str(error)
            return None

    def decode(self, image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode an opened image, over black where it is transparent.

        Raises:
            ValueError: its pixels have no scale; see :func:`~dyn3d_ns.io.images.to_8_bits`.
        """
        eight = of_8_bits(image, self._bits)  # before Pillow decodes it to look for EXIF data
        if self.focal_35mm is None:
            self.focal_35mm = _exif_focal(image)
        image = upright(eight)
        profile = image.info.get("icc_profile")
        if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
            rgba = to_8_bits(image, "RGBA")
            image, alpha = Image.fromarray(np.ascontiguousarray(rgba[..., :3])), rgba[..., 3:]
        else:
            alpha = np.full((1, 1, 1), 255, np.uint8)
        found = self._in_srgb(image, profile, name)
        if alpha.min() == 255:
            return found
        self._transparent.append(name)
        return ((found.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)

    def notes(self, count: int, where: Path) -> list[str]:
        """Tell what was odd.

        Raises:
            StageError: not one of the images could be read.
        """
        if len(self._unreadable) == count:
            raise StageError(f"none of the {count} images in {where} can be read ({self._reason})")
        notes = []
        if self._deep:
            low, high = self._range
            told = f"values of 16 bits ({low} to {high}) were brought to 8 bits: {self._bits} bits are used"
            if high - low < _NARROW * (1 << self._bits):
                told += "; they differ by little: stretch them before for frames with more contrast"
            notes.append(told)
        for names, what in (
            (self._transparent, "with transparent pixels, which are laid over black"),
            (self._profiles, "in another colour space than sRGB (by their ICC profile), which was converted"),
            (self._several, "with several pictures (animation or pages), of which the first was taken"),
            (self._unreadable, "cannot be read and was left out"),
        ):
            if names:
                notes.append(listing("image", what, names))
        if self._unreadable:
            notes[-1] += f" ({self._reason})"
        return notes

    def _in_srgb(self, image: Image.Image, profile: bytes | None, name: str) -> UInt8[np.ndarray, "H W 3"]:
        if profile and image.mode in ("RGB", "CMYK"):
            transform = _to_srgb(profile, image.mode)
            if transform is not None:
                self._profiles.append(name)
                return np.array(ImageCms.applyTransform(image, transform))
        return to_8_bits(image, "RGB")


def frames_of_folder(
    folder: Path, stills: Stills, notes: list[str]
) -> Generator[tuple[int, str, np.ndarray], None, None]:
    """Yield place, name and picture of the frames of a folder; those that cannot be read are left out.

    Raises:
        StageError: there is none, or they differ in size.
        DatasetError: it is not plain which images are the frames.
    """
    paths, note = picture_series(folder)
    if not paths:
        raise StageError(_nothing_in(folder))
    if note is not None:
        notes.append(note)
    stills.measure(_deep_ones(paths))
    size: tuple[int, int] | None = None
    try:
        for number, path in enumerate(paths):
            image = stills.read(path)
            if image is None:
                continue
            if size is not None and image.shape[1::-1] != size:
                raise StageError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, but the frames before it are "
                    f"{size[0]}x{size[1]}; all frames of a clip share one size: crop or resize that one"
                )
            size = (image.shape[1], image.shape[0])
            yield number, path.name, image
    finally:
        # Whoever wants a part of the frames stops before the end.
        notes.extend(stills.notes(len(paths), folder))


def frames_of_file(
    path: Path, stills: Stills, notes: list[str]
) -> Generator[tuple[float | None, np.ndarray], None, None]:
    """Yield each picture of a file (TIFF stack, animated GIF, WebP, PNG), and for how many seconds it shows.

    Raises:
        StageError: it cannot be read, or holds one picture.
    """
    try:
        with Image.open(path) as image:
            pages = range(getattr(image, "n_frames", 1))
            if len(pages) < 2:
                raise StageError(f"{path} is one image; give a video file or a folder of images")
            stills.measure(deep_values(image) for page in pages if not image.seek(page) and is_deep(image))
            try:
                for page in pages:
                    image.seek(page)
                    picture = stills.decode(image, f"picture {page}")
                    shown = image.info.get("duration")
                    yield (shown / 1000 if shown else None), picture
            finally:
                notes.extend(stills.notes(len(pages), path))
    except image_errors() as error:
        if isinstance(error, StageError):
            raise
        raise StageError(f"{path} cannot be read ({error}); write it again") from error


def listing(noun: str, verb: str, names: list[str]) -> str:
    """Return so many things and the first of their names, for a note."""
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {noun}(s) {verb}: {shown}"


def _deep_ones(paths: list[Path]) -> Iterator[UInt16[np.ndarray, "H W *c"]]:
    for path in paths:
        try:
            with Image.open(path) as image:
                if is_deep(image):
                    yield deep_values(image)
        except image_errors():
            # Told when it is decoded.
            continue


def _nothing_in(folder: Path) -> str:
    """Say that a folder holds no image, what it holds instead, and what to give."""
    told = f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}); "
    videos = videos_in(folder)
    if videos:
        shown = ", ".join(path.name for path in videos[:3]) + (", …" if len(videos) > 3 else "")
        return told + f"it holds {len(videos)} video(s): give one of them ({shown})"
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and images_in(p))
    if inner:
        return told + f"give the folder with the frames, such as {inner[0]}"
    others = files_in(folder, _NOT_READ)
    if others:
        return told + f"it holds {others[0].name} and such: write them as PNG or JPEG"
    return told + "give the folder with the frames"


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """Return the transform from a profile to sRGB; None if it is sRGB, or none that can be read."""
    import io

    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(found).lower():
            return None
        return ImageCms.buildTransform(found, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError):
        # Cameras write broken profiles; the pixels are taken as they are, as where there is none.
        return None


def _exif_focal(image: Image.Image) -> float | None:
    value = exif_of(image, _FOCAL_TAG, _EXIF_IFD)
    try:
        return float(value) or None if value is not None else None  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
