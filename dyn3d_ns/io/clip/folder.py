"""Read the folder of a processed clip: ours, or a scene of DynamicVerse itself.

The one reader of that folder; :class:`~dyn3d_ns.io.clip.workspace.Workspace` adds the writers. What a method
takes from a clip as priors, for the frame `i` in the order of the clip:

    clip = ClipFolder(root)
    clip.num_frames, clip.size    number of frames; width and height in pixels
    clip.times                    times in [0, 1], and frames per second (None if unknown)
    clip.image(i)                 [H, W, 3] uint8
    clip.cameras()                `Cameras`: .Ks and OpenCV .camera_to_worlds, the adjusted ones if there are
    clip.has_masks()              clip.dynamic_mask(i): [H, W] bool, True where it moves; clip.labels(i): ids
    clip.has_flow(i, j)           clip.flow(i, j): `Flow`, .flow [H, W, 2] pixels and .valid [H, W], where the
                                  flow back agrees; on disk are the next frame, i + 1, and the one before
    clip.has_depth()              clip.depth(i): [H, W] planar z in the cameras' world, 0 where unknown
    clip.has_tracks()             clip.tracks(): `Tracks`, .xy [F, N, 2] pixels, .visible, .confidence [F, N]
    clip.fused(), .sparse_points()  points in the cameras' world, None where there are none

Every `has_...` tells without reading whether there is such; a reader of what is not there raises
:class:`~dyn3d_ns.io.errors.MissingFileError`, which names the stage that writes it, and of what cannot be
decoded :class:`~dyn3d_ns.io.errors.DamagedFileError`. Whole pixel coordinates are pixel centres.

Files are looked for where `dyn3d process` writes them, then where DynamicVerse does. There frames, masks and
depth belong together by order, whatever they are called and from wherever their numbers start. Nothing is
remembered between two calls, so that a folder may be read while it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, UInt8

from dyn3d_ns.io.arrays import ids_of, load_npy, read_npz, read_png
from dyn3d_ns.io.clip.paths import STAGES, ClipPaths
from dyn3d_ns.io.clip.types import Cameras, Clip, Flow, SparsePoints, Tracks
from dyn3d_ns.io.damage import ARRAY_ERRORS, CONTENT_ERRORS, JSON_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.flow_files import read_flow_npz
from dyn3d_ns.io.frame_matching import ClipFrames
from dyn3d_ns.io.fused_4d import FusedScene, read_fused
from dyn3d_ns.io.recognised import Recognised, image_size, images_in
from dyn3d_ns.io.shell import shell_word

TRIANGULATED = "triangulated"
"""Source of depth that was triangulated from the cameras' motion."""


@dataclass(frozen=True)
class ClipFolder(ClipPaths):
    """Readers of one clip's folder; see the module for what there is."""

    def image(self, i: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read one frame as RGB."""
        return read_png(self.frames()[i], "RGB")

    def images(self) -> Images:
        """Return the frames as a sequence that reads each image when it is asked for."""
        return Images(self.frames())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames."""
        from PIL import Image

        first = self.frames()[0]
        try:
            with Image.open(first) as image:
                return image.size
        except image_errors() as error:
            raise DamagedFileError(f"{first} is not a readable image ({error})") from error

    def clip(self) -> Clip:
        """Read when each frame was taken; only `dyn3d process` writes that."""
        values = self._json(self.clip_path, "frames")
        try:
            known = {
                **values,
                "fps": float(values["fps"]),
                "times": tuple(map(float, values["times"])),
                "source_frames": tuple(map(int, values["source_frames"])),
                "source_names": tuple(map(str, values.get("source_names", ()))),
            }
            clip = Clip(**known)
            if not (np.isfinite(clip.times).all() and 0 < clip.fps < np.inf and clip.times):
                raise ValueError("its times and its fps must be finite")
            return clip
        except CONTENT_ERRORS as error:
            raise DamagedFileError(f"{self.clip_path} is not a clip's description ({error})") from error

    def clip_frames(self) -> ClipFrames:
        """Return what is known of each frame by which files of other tools may call it."""
        clip, own = self.clip(), tuple(path.name for path in self.frames())
        if len(clip.source_frames) != len(own):
            raise DamagedFileError(
                f"{self.clip_path} is of {len(clip.source_frames)} frames, but rgb/ holds {len(own)}; run "
                "the stage `frames` again"
            )
        names = clip.source_names if len(clip.source_names) == len(own) else ()
        return ClipFrames(np.array(clip.source_frames), names, own, clip.source, np.array(clip.times))

    @property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times in [0, 1], and frames per second; evenly spaced, at an unknown rate, without clip.json."""
        count = self.num_frames
        if not self.clip_path.is_file():
            return np.linspace(0.0, 1.0, count), None
        clip = self.clip()
        if len(clip.times) != count or (np.diff(clip.times) <= 0).any():
            raise DamagedFileError(f"{self.clip_path} must hold {count} increasing times, one a frame")
        return clip.normalized_times, clip.fps

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j is on disk."""
        return self.flow_path(i, j).is_file()

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j."""
        return Flow(*read_flow_npz(self.flow_path(i, j)))

    def flow_model(self) -> str:
        """Return the name of the method that estimated the flow."""
        return str(self._json(self.flow_info_path, "flow").get("method", "unknown"))

    def keyframes(self) -> list[int]:
        """Return the numbers of the selected frames."""
        path = self.keyframe_info_path
        try:
            return [int(k["index"]) for k in self._json(path, "keyframes")["selected"]]
        except CONTENT_ERRORS as error:
            if isinstance(error, DatasetError):
                raise
            raise DamagedFileError(f"{path} must list `selected` frames; run `keyframes` again") from error

    def has_tracks(self) -> bool:
        """Whether there are tracks."""
        return self.tracks_file() is not None

    def tracks(self) -> Tracks:
        """Read the newest tracks."""
        path = self.tracks_file()
        if path is None:
            raise MissingFileError(f"{self.root} holds no cotrackerv3_*/results.npz; run the stage `tracks`")
        names = ("all_tracks", "all_visibilities", "init_frames")
        values = read_npz(path, names, "tracks", optional=("all_confidences", "orig_shape"))
        visible = values["all_visibilities"].astype(bool, copy=False)
        xy, size = values["all_tracks"], values.get("orig_shape", np.array(self.size[::-1]))
        if not (
            xy.ndim == 3
            and xy.shape[2] == 2
            and visible.shape == values.get("all_confidences", visible).shape == xy.shape[:2]
            and values["init_frames"].shape == xy.shape[1:2]
            and size.shape == (2,)
        ):
            raise DamagedFileError(
                f"{path}: tracks {xy.shape}, visibilities {visible.shape} and frames "
                f"{values['init_frames'].shape} do not fit each other; run the stage `tracks` again"
            )
        return Tracks(
            xy=xy.astype(np.float32, copy=False),
            visible=visible,
            confidence=values.get("all_confidences", visible).astype(np.float32, copy=False),
            init_frames=values["init_frames"].astype(np.int64, copy=False),
            height=int(size[0]),
            width=int(size[1]),
        )

    def mask_files(self) -> list[Path]:
        """Return the files of instance ids, one a frame; none where there are no masks.

        Raises:
            DatasetError: there are masks, but not one for each frame.
        """
        found = self.find_masks()
        if found and len(found) != self.num_frames:
            folder = found[0].parent.relative_to(self.root).as_posix()
            raise DatasetError(
                f"{self.root}: {folder} holds {len(found)} files, but there are {self.num_frames} frames; "
                "they belong together by order, so there must be one each"
            )
        return found

    def has_masks(self) -> bool:
        """Whether there are masks."""
        return self.label_path(0).is_file() or bool(self.find_masks())

    def labels(self, i: int) -> Int32[np.ndarray, "H W"]:
        """Read the instance ids of frame i; 0 is static. Colours count as R + 256 G + 65536 B."""
        path = self.label_path(i)
        if not self.label_path(0).is_file():
            files = self.find_masks()
            path = files[i] if len(files) == self.num_frames else path
        return ids_of(read_png(path, None, stage="masks"))

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "H W"]:
        """Read where frame i moves by itself."""
        return self.labels(i) > 0

    def motion(self, i: int, kind: str = "dyna_avg") -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself, in [0, 1]."""
        return read_png(self.motion_path(i, kind), "L", stage="masks").astype(np.float32) / 255

    @property
    def instance_names(self) -> dict[int, str]:
        """Names of the objects by id; those that the stage `describe` gave where there are such."""
        for path in (self.instance_names_path, self.instance_labels_path):
            if path.is_file():
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                    return {int(k): str(v) for k, v in content.items()}
                except CONTENT_ERRORS as error:
                    raise DamagedFileError(f"{path} must map ids to names ({error})") from error
        return {}

    def cameras(self, adjusted: bool | None = None) -> Cameras:
        """Read the cameras: the adjusted ones (True), those before (False), the best there are (None).

        Raises:
            MissingFileError: there are none.
            DatasetError: they are no finite poses and intrinsics, one each.
        """
        if adjusted is None:
            path = self.find_cameras()
        else:
            path = self.adjusted_cameras_path if adjusted else self.cameras_path
        if path is None:
            found = self._cameras_of_frames()
        else:
            values = read_npz(path, ("poses", "intrinsics"), "cameras", optional=("registered", "static"))
            poses, Ks = (values[name].astype(np.float64) for name in ("poses", "intrinsics"))
            Ks = np.repeat(Ks[None], len(poses), axis=0) if Ks.shape == (3, 3) else Ks
            registered = values.get("registered", np.ones(len(poses), bool)).astype(bool)
            found = Cameras(Ks, poses, registered, bool(values.get("static", np.array(False))))
        count = len(found.camera_to_worlds)
        if found.camera_to_worlds.shape != (count, 4, 4) or found.Ks.shape != (count, 3, 3):
            raise DatasetError(
                f"{self.root} has poses {found.camera_to_worlds.shape} and intrinsics {found.Ks.shape}; "
                "expected (F, 4, 4) and (F, 3, 3)"
            )
        numbers = np.isfinite(found.camera_to_worlds).all() and np.isfinite(found.Ks).all()
        if not (numbers and (found.Ks[:, (0, 1), (0, 1)] > 0).all()):
            raise DatasetError(f"the cameras of {self.root} are not finite, or have no focal length")
        return found

    def _cameras_of_frames(self) -> Cameras:
        """Read the cameras that DynamicVerse keeps in the file of each adjusted frame."""
        frames = self.adjusted_frames()
        if not frames:
            raise MissingFileError(
                f"{self.root} has no cameras (dynamicBA/*/poses*.npz or cameras/poses.npz); run the stage "
                "`cameras` of `dyn3d process`"
            )
        poses, Ks = np.tile(np.eye(4), (len(frames), 1, 1)), np.zeros((len(frames), 3, 3))
        for i, path in enumerate(frames):
            values = read_npz(path, ("R", "t", "K"), "adjust")
            try:
                poses[i, :3, :3], poses[i, :3, 3], Ks[i] = values["R"], values["t"].reshape(3), values["K"]
            except ValueError as error:
                raise DamagedFileError(
                    f"{path}: R, t and K are no camera ({error}); write it again"
                ) from error
        return Cameras(Ks, poses, np.ones(len(frames), bool))

    def points(self) -> SparsePoints:
        """Read the static points that the cameras were found with, and who saw them."""
        names = ("xyz", "rgb", "frame_ids", "point_ids", "xy")
        values = read_npz(self.points_path, names, stage="cameras")
        points = SparsePoints(*(values[name] for name in names))
        seen = points.frame_ids.size
        if not (
            points.xyz.shape == points.rgb.shape == (len(np.atleast_1d(points.xyz)), 3)
            and points.frame_ids.shape == points.point_ids.shape == (seen,)
            and points.xy.shape == (seen, 2)
            and ((points.point_ids >= 0) & (points.point_ids < len(points.xyz))).all()
        ):
            raise DamagedFileError(
                f"the arrays of {self.points_path} do not fit each other; run the stage `cameras` again"
            )
        return points

    def sparse_points(self) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read places and colours of the static points that the cameras were found with, if there are any."""
        if not self.points_path.is_file():
            return None
        values = read_npz(self.points_path, ("xyz", "rgb"), stage="cameras")
        xyz, rgb = values["xyz"], values["rgb"]
        if not xyz.shape == rgb.shape == (len(np.atleast_1d(xyz)), 3):
            raise DamagedFileError(
                f"{self.points_path} must hold places and colours [P, 3]; run the stage `cameras` again"
            )
        return xyz, rgb.astype(np.uint8)

    def fused(self) -> FusedScene | None:
        """Read the newest fused scene, if there is one."""
        path = self.fused_file()
        return read_fused(path) if path is not None else None

    def has_depth(self) -> bool:
        """Whether there is a depth map of every frame."""
        return self.depth_file() is not None or len(self.adjusted_frames()) == self.num_frames

    def depth(self, i: int, adjusted: bool | None = None) -> Float32[np.ndarray, "H W"]:
        """Read planar z of frame i: adjusted (True), as estimated (False), the best there is (None).

        0 where nothing is known.
        """
        path = self.adjusted_frame_path(i)
        if adjusted is None and not path.is_file():
            frames = self.adjusted_frames()
            adjusted = len(frames) == self.num_frames
            path = frames[i] if adjusted else path
        if adjusted is False:
            return self._estimated_depth(i)
        disparity = read_npz(path, ("disp",), stage="adjust")["disp"].astype(np.float32)
        if disparity.ndim != 2:
            raise DamagedFileError(f"{path}: `disp` must be [H, W], got {disparity.shape}; write it again")
        known = disparity > 0
        return np.where(known, 1 / np.where(known, disparity, 1), 0).astype(np.float32)

    def _estimated_depth(self, i: int) -> Float32[np.ndarray, "H W"]:
        path = self.depth_file()
        if path is None:
            raise MissingFileError(f"{self.depth_path} does not exist; run the stage `depth` first")
        try:
            depths = load_npy(path, "r")
            shape = numbers(depths, path).shape[1:3] if depths.shape[-1] == 1 else depths.shape[-2:]
            return np.array(depths[i], dtype=np.float32).reshape(shape)
        except ARRAY_ERRORS as error:
            raise DamagedFileError(f"{path} has no readable depth of frame {i} ({error})") from error

    def depth_is_triangulated(self) -> bool:
        """Tell whether the depth was triangulated from the cameras' motion, not given or a network's."""
        try:
            content = json.loads(self.depth_info_path.read_text(encoding="utf-8"))
            return content["source"] == TRIANGULATED
        except (OSError, *CONTENT_ERRORS):
            return False

    def _json(self, path: Path, stage: str) -> dict[str, Any]:
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist; run the stage `{stage}` first")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except JSON_ERRORS as error:
            raise DamagedFileError(
                f"{path} is not a clip's description: no valid JSON ({error}); delete it and run again"
            ) from error
        if not isinstance(content, dict):
            raise DamagedFileError(f"{path} must hold a JSON object; delete it and run `{stage}` again")
        return content


class Images(Sequence[np.ndarray]):
    """The frames as a sequence; each image is read when it is asked for."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "H W 3"]:  # type: ignore[override]
        return read_png(self.paths[i], "RGB")

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        return (self[i] for i in range(len(self)))


def recognise_clip(path: Path) -> Recognised | None:
    """Tell whether a folder is a clip as `dyn3d process` or DynamicVerse leave it."""
    frames = images_in(path / "rgb")
    done = [name for name, pattern in STAGES.items() if any(path.glob(pattern))]
    if not frames or not set(done) - {"frames"}:
        return None
    facts = {"frames": str(len(frames)), "image size": image_size(frames[0]), "stages done": ", ".join(done)}
    folder = ClipFolder(path)
    if folder.clip_path.is_file():
        try:
            clip = folder.clip()
            facts["source"], facts["length"] = clip.source, f"{clip.times[-1]:.2f} s at {clip.fps:.3g} fps"
        except DatasetError as error:
            facts["length"] = f"unknown ({error})"
    if folder.instance_labels_path.is_file():
        facts["objects"] = ", ".join(folder.instance_names.values()) or "none"
    missing = [f"stage {name}" for name in STAGES if name not in done]
    posed = "cameras" in done or "adjust" in done
    use = [f"ns-train dyn3d-velocity-fast dynamicverse-data --data {shell_word(path)}"] if posed else []
    use += [f"dyn3d view {shell_word(path)}"] if "fuse" in done else []
    return Recognised("processed clip (DynamicVerse)", facts, missing, use)
