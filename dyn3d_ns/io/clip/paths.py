"""The folder that a clip becomes: DynamicVerse's tree. What its files are called is known here only.

rgb/00000.png …                         frames (`clip.json`: their times)
flow/00000_00001.npz, .flo              flow from one frame to another, with its consistency mask
key_frames/rgb/<scene>_high_motion_…    frames with much motion; keyframe_info.json, processing_summary.json
cotrackerv3_<interval>_<grid>/results.npz
motion/dyna_avg/00000.png, dyna_max/…   how likely each pixel moves by itself, 0 to 255
segmentation/label/00000.png            instance ids, 0 = static; frames/, videos/, instance_labels.json
qwen/Annotations/frame_00000.png        the same ids in colours, as DynamicVerse names them
cameras/poses.npz, points.npz           cameras and static points before adjustment
unidepth/depth.npy, intrinsics.npy      depth (F,1,H,W) before adjustment
dynamicBA/<experiment>/                 adjusted cameras and depth, fused_4d.npz
transforms.json                         what Nerfstudio reads
manifest.json                           what ran, with which settings
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dyn3d_ns.io.errors import MissingFileError
from dyn3d_ns.io.recognised import natural_order

STAGES: dict[str, str] = {
    "frames": "clip.json",
    "flow": "flow/flow_info.json",
    "keyframes": "key_frames/keyframe_info.json",
    "tracks": "cotrackerv3_*/results.npz",
    "masks": "qwen/Annotations/*",
    "cameras": "cameras/poses.npz",
    "depth": "unidepth*/depth.npy",
    "adjust": "dynamicBA/*/poses*.npz",
    "describe": "analysis/dynamic_objects_*.json",
    "fuse": "dynamicBA/*/*fused_4d*.npz",
}
"""Stages of `dyn3d process` in the order in which they run, with a file that tells that one was done, here or
by DynamicVerse."""

EXPERIMENT = "base"
"""Folder of dynamicBA/ that is written."""


@dataclass(frozen=True)
class ClipPaths:
    """Where everything lies in one clip's folder. Frames are numbered from 0."""

    root: Path

    @property
    def scene(self) -> str:
        """Name of the scene: that of its folder."""
        return self.root.resolve().name

    @property
    def rgb_dir(self) -> Path:
        """Folder of the frames."""
        return self.root / "rgb"

    @property
    def clip_path(self) -> Path:
        """Times of the frames."""
        return self.root / "clip.json"

    def frame_path(self, i: int) -> Path:
        """Image of a frame, where the stage `frames` writes it."""
        return self.rgb_dir / f"{i:05d}.png"

    def frames(self) -> list[Path]:
        """List the images of the clip in order."""
        found = _images_in(self.rgb_dir)
        if not found:
            raise MissingFileError(
                f"{self.root} has no frames in rgb/; give the folder that `dyn3d process` wrote (its stage "
                "`frames`), or a scene of DynamicVerse"
            )
        return found

    @property
    def num_frames(self) -> int:
        """Number of frames of the clip."""
        return len(self.frames())

    @property
    def cache_dir(self) -> Path:
        """What can be computed again; the runner's records lie beside it."""
        return self.root / ".dyn3d"

    def flow_path(self, i: int, j: int) -> Path:
        """File of the flow from frame i to frame j."""
        return self.root / "flow" / f"{i:05d}_{j:05d}.npz"

    @property
    def flow_info_path(self) -> Path:
        """Which method estimated the flow."""
        return self.root / "flow" / "flow_info.json"

    @property
    def keyframes_dir(self) -> Path:
        """Folder of the keyframes."""
        return self.root / "key_frames"

    @property
    def keyframe_info_path(self) -> Path:
        """Which frames are keyframes, and the scores of all."""
        return self.keyframes_dir / "keyframe_info.json"

    def tracks_path(self, interval: int = 10, grid: int = 50) -> Path:
        """File of the tracks, where the stage `tracks` writes it."""
        return self.root / f"cotrackerv3_{interval}_{grid}" / "results.npz"

    def tracks_file(self) -> Path | None:
        """Return the newest file of tracks."""
        return self._newest(STAGES["tracks"])

    @property
    def segmentation_dir(self) -> Path:
        """Folder of the masks."""
        return self.root / "segmentation"

    @property
    def annotations_dir(self) -> Path:
        """Colour masks under the name that DynamicVerse's adjustment reads."""
        return self.root / "qwen" / "Annotations"

    @property
    def instance_labels_path(self) -> Path:
        """Names of the instances."""
        return self.segmentation_dir / "instance_labels.json"

    def label_path(self, i: int) -> Path:
        """Instance ids of frame i."""
        return self.segmentation_dir / "label" / f"{i:05d}.png"

    def motion_path(self, i: int, kind: str = "dyna_avg") -> Path:
        """Probability of motion of frame i: `dyna_avg` or `dyna_max`."""
        return self.root / "motion" / kind / f"{i:05d}.png"

    @property
    def cameras_path(self) -> Path:
        """Cameras before adjustment."""
        return self.root / "cameras" / "poses.npz"

    @property
    def points_path(self) -> Path:
        """Static points before adjustment."""
        return self.root / "cameras" / "points.npz"

    def find_masks(self) -> list[Path]:
        """List the files of instance ids in order, where there are any."""
        folders = ("segmentation/label", "qwen/Annotations", "segmentation/frames/masks")
        return next((found for name in folders if (found := _images_in(self.root / name))), [])

    def find_cameras(self) -> Path | None:
        """Return the file of the best cameras: adjusted ones before others, the newest first."""
        names = (
            "dynamicBA/*/poses*.npz",
            "dynamicBA/*/pose.npz",
            "cameras/poses.npz",
            "poses.npz",
            "pose.npz",
        )
        if self.adjusted_cameras_path.is_file():
            return self.adjusted_cameras_path
        return next((found for name in names if (found := self._newest(name))), None)

    @property
    def adjusted_dir(self) -> Path:
        """Folder of the adjustment's results."""
        return self.root / "dynamicBA" / EXPERIMENT

    @property
    def adjusted_cameras_path(self) -> Path:
        """Cameras after adjustment."""
        return self.adjusted_dir / "poses.npz"

    @property
    def depth_path(self) -> Path:
        """Depth of all frames before adjustment."""
        return self.root / "unidepth" / "depth.npy"

    def adjusted_frame_path(self, i: int) -> Path:
        """Adjusted frame: disparity, image and camera in one file, as DynamicVerse writes it."""
        return self.adjusted_dir / f"{i:04d}.npz"

    def adjusted_frames(self) -> list[Path]:
        """List the adjusted frames of the newest experiment."""
        pattern = "[0-9][0-9][0-9][0-9]*.npz"
        folders = [path for path in self.root.glob("dynamicBA/*") if any(path.glob(pattern))]
        newest = max(folders, key=lambda path: path.stat().st_mtime_ns, default=None)
        return sorted(newest.glob(pattern), key=natural_order) if newest is not None else []

    def depth_file(self) -> Path | None:
        """Return the file of the depth before adjustment, here or as DynamicVerse names it."""
        names = ("unidepth/depth.npy", "unidepth_gt_K/depth.npy", "unidepth*/depth.npy", "depth.npy")
        return next((path for name in names for path in sorted(self.root.glob(name))), None)

    @property
    def intrinsics_path(self) -> Path:
        """Mean intrinsics, which go with the depth."""
        return self.depth_path.with_name("intrinsics.npy")

    @property
    def depth_info_path(self) -> Path:
        """Where the depth came from."""
        return self.depth_path.with_name("info.json")

    def fused_file(self) -> Path | None:
        """Return the newest 4-D point cloud, those painted by object left out."""
        return self._newest("dynamicBA/*/fused_4d*.npz")

    @property
    def objects_path(self) -> Path:
        """Names of what moves, with a sentence on the looks of each."""
        return self.root / "analysis" / f"dynamic_objects_{self.scene}.json"

    @property
    def instance_names_path(self) -> Path:
        """Name of each object of the masks, as the stage `describe` has it."""
        return self.root / "analysis" / "instance_names.json"

    @property
    def captions_dir(self) -> Path:
        """Folder of the captions."""
        return self.root / "captions"

    @property
    def fused_path(self) -> Path:
        """The 4-D point cloud."""
        return self.adjusted_dir / "fused_4d.npz"

    @property
    def points_ply_path(self) -> Path:
        """Points for Nerfstudio, which transforms.json names."""
        return self.root / "sparse_points.ply"

    @property
    def transforms_path(self) -> Path:
        """Cameras for Nerfstudio."""
        return self.root / "transforms.json"

    @property
    def manifest_path(self) -> Path:
        """What ran, with which settings."""
        return self.root / "manifest.json"

    def _newest(self, pattern: str) -> Path | None:
        return max(self.root.glob(pattern), key=lambda path: path.stat().st_mtime_ns, default=None)


def _images_in(folder: Path) -> list[Path]:
    found = (path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return sorted(found, key=natural_order)
