"""What the layouts of footage have in common: files of frames found by their numbers, maps, checks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from dyn3d_ns.geometry.cameras import HALF_PIXEL, focals, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.io.arrays import load_npy, read_png
from dyn3d_ns.io.camera_file import proportion_fits
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.damage import ARRAY_ERRORS, numbers
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError, MissingFileError, PoseError
from dyn3d_ns.io.recognised import image_sizes, number_of


def by_number(paths: Iterable[Path]) -> dict[int, Path]:
    """Return files by the last number in their names; those without any are left out.

    Raises:
        DatasetError: two have the same.
    """
    found: dict[int, Path] = {}
    for path in paths:
        number = number_of(path)
        if number is None:
            continue
        if number in found:
            raise DatasetError(
                f"{path.parent} holds {found[number].name} and {path.name}, both number {number}; frames and "
                "their maps are matched by number: remove one"
            )
        found[number] = path
    return found


def one_a_frame(what: str, found: dict[int, Path], frames: list[Path]) -> list[Path]:
    """Return the file of each frame, by the frames' numbers; none if there is none at all.

    Raises:
        DatasetError: only some frames have one.
    """
    if not found:
        return []
    files = [found.get(number_of(frame) or 0) for frame in frames]
    without = [frame.name for frame, file in zip(frames, files, strict=True) if file is None]
    if without:
        folder = next(iter(found.values())).parent
        raise DatasetError(
            f"{folder} has {what} of {len(frames) - len(without)} of {len(frames)} frames (none of "
            f"{without[0]}); there must be one for each, or none at all"
        )
    return [file for file in files if file is not None]


def check_aspect(images: list[Path], size: tuple[int, int]) -> None:
    """Check that maps have the sides' proportion of the frames, to a pixel; only headers are read.

    Raises:
        ImageSizeError: they have not, or are of several sizes.
        DamagedFileError: one cannot be read.
    """
    if images:
        check_proportion(images[0], image_sizes(images), size)


def check_proportion(
    path: Path, found: tuple[int, int], size: tuple[int, int], networks: bool = False
) -> None:
    """Check that a width and height are those of the frames, up to a scale and a pixel.

    Args:
        path: What has the width and height, for the message.
        found: Width and height.
        size: Those of the frames.
        networks: Whether they may be rounded to multiples, as networks do.

    Raises:
        ImageSizeError: they are not.
    """
    off = abs(found[1] - size[1] * found[0] / size[0]), abs(found[0] - size[0] * found[1] / size[1])
    if min(off) > 1 and not (networks and proportion_fits(found, size)):
        raise ImageSizeError(
            f"{path} is {found[0]}x{found[1]}, the frames {size[0]}x{size[1]}: that is another proportion of "
            "the sides; crop it as the frames are"
        )


def resized(
    Ks: Float64[np.ndarray, "F 3 3"],
    before: tuple[int, int] | Float64[np.ndarray, "F 2"],
    after: tuple[int, int],
) -> Float64[np.ndarray, "F 3 3"]:
    """Return intrinsics of images of another width and height; whole coordinates are pixel centres."""
    x, y = (np.array(after) / np.asarray(before, dtype=np.float64)).T
    from_corner = shift_pixel_centers(Ks, HALF_PIXEL)
    return shift_pixel_centers(scale_intrinsics(from_corner, x, y), -HALF_PIXEL)


def checked_cameras(
    root: Path, Ks: Float64[np.ndarray, "P 3 3"], poses: Float64[np.ndarray, "P 4 4"], count: int
) -> Cameras:
    """Return cameras after checking that there is a usable one for each frame.

    Raises:
        DatasetError: there is not one for each.
        PoseError: one is not finite, or has no focal length.
    """
    if not len(Ks) == len(poses) == count:
        raise DatasetError(
            f"{root} has {count} frames, but {len(poses)} poses and {len(Ks)} intrinsics; there must be one "
            "for each frame: remove the frames without, or estimate their cameras as well"
        )
    good = np.isfinite(poses).all((1, 2)) & np.isfinite(Ks).all((1, 2)) & (focals(Ks) > 0).all((1, 2))
    if not good.all():
        raise PoseError(
            f"{root}: the camera of frame {int(np.flatnonzero(~good)[0])} is not finite, or has no focal "
            "length; remove the frame or write its camera again"
        )
    return Cameras(Ks, poses, np.ones(count, bool))


def read_array(path: Path) -> Float32[np.ndarray, "h w"]:
    """Read a map of numbers from an .npy.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .npy of one number a pixel.
    """
    array = _load(path, None)
    return np.array(array, dtype=np.float32).reshape(array.shape[:2])


def array_size(path: Path) -> tuple[int, int]:
    """Return width and height of a map in an .npy, of which only the header is read."""
    return _load(path, "r").shape[1::-1]


def _load(path: Path, mode: Literal["r"] | None) -> np.ndarray:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")
    try:
        array = load_npy(path, mode)
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path} is not a readable .npy ({error}); write it again") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,)):
        raise DamagedFileError(f"{path} must hold one number a pixel, as an .npy of height and width")
    return numbers(array, path)


def read_probability(path: Path) -> Float32[np.ndarray, "h w"]:
    """Read how likely each pixel moves, from an .npy in [0, 1] or an image of 8 or 16 bits.

    Raises:
        DamagedFileError: a value lies outside [0, 1].
    """
    if path.suffix.lower() == ".npy":
        values = read_array(path)
    else:
        pixels = read_png(path, None, "masks")
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        whole = {np.dtype(bool): 1, np.dtype(np.uint8): 255}.get(grey.dtype, 65535)
        values = grey.astype(np.float32) / whole
    if not (values.size and np.isfinite(values).all() and values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
        raise DamagedFileError(f"{path} must hold probabilities in [0, 1]; write it again")
    return np.clip(values, 0, 1)
