"""A COLMAP model as footage: its registered images in the natural order of their names."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.camera_file import brought_to, without_lens
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.colmap_models import colmap_folder, read_colmap
from dyn3d_ns.io.errors import DatasetError, MissingFileError, UnsafePathError
from dyn3d_ns.io.footage.base import Footage, Prior
from dyn3d_ns.io.footage.files import check_aspect, checked_cameras
from dyn3d_ns.io.footage.undistorted import undistorted_images
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES, image_sizes, images_in, natural_order

_MASKS = "masks"


def is_colmap(path: Path) -> bool:
    """Tell whether a folder holds a model."""
    return colmap_folder(path) is not None


class ColmapFootage(Footage):
    """Cameras and points of a model; masks beside it, by the images' names.

    Masks have the meaning of COLMAP and Nerfstudio: what is not 0 is used, so 0 is what moves.
    """

    camera_source = "COLMAP"

    def __init__(self, root: Path) -> None:
        """Open a folder with `sparse/0` or `sparse`, and the images.

        Raises:
            DatasetError: it is no usable model, fewer than two images are registered, an image is missing, a
                lens cannot be undone, or only some images have masks.
        """
        self.root = root
        self._model = read_colmap(root)
        self._folder = self._image_folder()
        for note in self._model.cameras.notes:
            print(f"{root}: {note}", file=sys.stderr)
        self._tell_left_out()
        self._images = [self._folder / name for name in self._model.names]
        self._masks = self._find_masks()
        check_aspect(self._masks, self.size)
        if undone := [str(undo.lens) for undo in self._pinholes[1] if undo is not None]:
            print(f"{root}: the lens of {len(undone)} images is undone: {undone[0]}", file=sys.stderr)
        self.mask_source = _MASKS if self._masks else "none"
        self.advice = (
            f"masks come from {root / _MASKS}/NAME.png (0 moves, all else rests), one for each image; COLMAP "
            "knows no flow, depth or tracks: `dyn3d process` makes them of the images"
        )

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Registered images, without their lens."""
        return undistorted_images(self.root, self._images, self._pinholes[1])

    @cached_property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """Width and height that all images share."""
        return image_sizes(self._images)

    def cameras(self) -> Cameras:
        """Read the cameras, each image its own, of the size that the images have and without the lens."""
        poses = self._model.cameras.camera_to_worlds
        return checked_cameras(self.root, self._pinholes[0], poses, len(self._images))

    @cached_property
    def _pinholes(self) -> tuple[Float64[np.ndarray, "F 3 3"], list[Undistortion | None]]:
        """Intrinsics without the lens, and what undoes it in each image."""
        Ks, _ = brought_to(self._model.cameras, self.size)
        Ks, undos = without_lens(self._model.cameras, Ks, self.size)
        assert Ks is not None
        return Ks, undos

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """Masks, if there are any."""
        return frozenset({"dynamic_mask", "motion"} if self._masks else ())

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where the mask of image i is 0, or of black and white masks below half."""
        mask, undo = ~self._mask_files.on(i), self._pinholes[1][i]
        return mask if undo is None else undo.nearest(mask)

    @cached_property
    def _mask_files(self) -> MaskFiles:
        return MaskFiles(self._masks)

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Return the model's points."""
        return (self._model.xyz, self._model.rgb) if len(self._model.xyz) else None

    def _image_folder(self) -> Path:
        """Find the folder that the images' names start from."""
        for name in self._model.names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                raise UnsafePathError(f"{self.root}: the image name {name!r} leads out of the folder")
        first = self._model.names[0]
        below = sorted(p for p in self.root.rglob("*") if p.is_dir() and p.name != _MASKS)
        places = [self.root / "images", self.root, *below]
        folder = next((place for place in places if (place / first).is_file()), None)
        if folder is None:
            raise MissingFileError(
                f"{self.root} holds no image {first}, which its model names; put the images into "
                f"{self.root / 'images'}"
            )
        missing = [name for name in self._model.names if not (folder / name).is_file()]
        if missing:
            raise MissingFileError(
                f"{folder} lacks {len(missing)} of the {len(self._model.names)} images that the model names "
                f"(first: {missing[0]}); restore them"
            )
        return folder

    def _tell_left_out(self) -> None:
        names = set(self._model.names)
        inner = sorted({Path(name).parent for name in names})
        there = [p for folder in inner for p in images_in(self._folder / folder)]
        unknown = (p for p in there if p.relative_to(self._folder).as_posix() not in names)
        left = sorted(unknown, key=natural_order)
        told = (
            f"{self.root}: COLMAP registered {len(names)} images; {len(left)} others have no pose and are "
            f"left out (first: {left[0].name})"
            if left
            else f"{self.root}: COLMAP registered {len(names)} image"
        )
        if len(names) < 2:
            raise DatasetError(f"{told}; a video needs at least 2: run COLMAP again")
        if left:
            print(told, file=sys.stderr)

    def _find_masks(self) -> list[Path]:
        files = [self._mask_of(name) for name in self._model.names]
        without = [name for name, file in zip(self._model.names, files, strict=True) if file is None]
        if len(without) == len(files):
            return []
        if without:
            raise DatasetError(
                f"{self.root / _MASKS} has masks of {len(files) - len(without)} of {len(files)} images (none "
                f"of {without[0]}); there must be one for each, or none at all"
            )
        return [file for file in files if file is not None]

    def _mask_of(self, name: str) -> Path | None:
        plain = self.root / _MASKS / name
        tried = [p for s in IMAGE_SUFFIXES for p in (plain.with_name(plain.name + s), plain.with_suffix(s))]
        return next((path for path in tried if path.is_file()), None)
