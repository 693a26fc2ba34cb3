"""Make Nerfstudio 1.1.5 whole on today's machines: new torch, no network, no GPU, no system ffmpeg.

``apply()`` runs when Nerfstudio discovers our plugins, that is, early in every ``ns-*`` command, while
Nerfstudio's own modules are half imported. So it imports nothing heavy: a module that is not there yet is
patched at the moment it is imported. ``DYN3D_NO_COMPAT=1`` in the environment switches everything here off.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dyn3d_ns import plain_errors
from dyn3d_ns.import_hook import ImportHook

_ALEXNET_WEIGHTS = "alexnet-owt-7be5be79.pth"
"""File name of torchvision's default AlexNet weights, which torchmetrics' LPIPS loads."""
_EVERY_INTERFACE = "0.0.0.0"


def apply() -> None:
    """Put every repair into effect; calling it again repairs what was imported since."""
    if os.environ.get("DYN3D_NO_COMPAT") == "1":
        return
    plain_errors.install()
    _allow_checkpoint_types()
    for name, patch in _PATCHES.items():
        module = sys.modules.get(name)
        if module is None:
            _IMPORT_HOOK.install()
        elif not getattr(module.__spec__, "_initializing", False):
            patch(module)


def ensure_ffmpeg() -> str:
    """Return the path of an ffmpeg that ``shutil.which`` and a shell find too.

    If PATH has none, the binary inside the imageio-ffmpeg wheel is linked under the name ``ffmpeg`` in the
    user's cache folder, and that folder is appended to this process's PATH.

    Raises:
        RuntimeError: there is no ffmpeg at all.
    """
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    binary = Path(imageio_ffmpeg.get_ffmpeg_exe())
    name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
    link = _writable_cache() / name
    if not (link.exists() and link.samefile(binary)):
        _link_or_copy(binary, link)
    os.environ["PATH"] = os.pathsep.join([*filter(None, [os.environ.get("PATH")]), str(link.parent)])
    return str(link)


def lpips_weights_available() -> bool:
    """Tell whether LPIPS can be computed without downloading its AlexNet weights."""
    import torch

    return (Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET_WEIGHTS).is_file()


def _allow_checkpoint_types() -> None:
    """Let ``torch.load`` (weights_only, the default since torch 2.6) read Nerfstudio's checkpoints.

    Its learning-rate schedulers leave NumPy scalars in the optimizer states. Only what such a
    scalar is made of is allowed, under the names that NumPy 1 and NumPy 2 write.
    """
    import numpy as np
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):  # loads everything by default
        return
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            (scalar, "numpy._core.multiarray.scalar"),
            (scalar, "numpy.core.multiarray.scalar"),
            np.dtype,
            *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
        ]
    )


def _patch_install_checks(module: ModuleType) -> None:
    """Look into the imageio-ffmpeg wheel before telling the user that ffmpeg is missing."""
    original = module.check_ffmpeg_installed

    @wraps(original)
    def check_ffmpeg_installed() -> None:
        try:
            ensure_ffmpeg()
        except RuntimeError as error:  # the wheel has no binary for this platform
            print(error, file=sys.stderr)
        original()

    _replace(module, "check_ffmpeg_installed", check_ffmpeg_installed)


def _patch_full_images_datamanager(module: ModuleType) -> None:
    """Keep more than 500 training images in ordinary memory where there is no driver to pin it for."""
    manager = module.FullImageDatamanager
    original = manager._load_images

    @wraps(original)
    def _load_images(self: Any, split: Any, cache_images_device: Any) -> Any:
        import torch

        # "gpu" means the datamanager's own device, which is the CPU here: the same memory, not pinned.
        device = cache_images_device if torch.cuda.is_available() else "gpu"
        return original(self, split, cache_images_device=device)

    _replace(manager, "_load_images", _load_images)


def _patch_lpips(module: ModuleType) -> None:
    """Compute LPIPS where its weights are on disk, and answer NaN instead of downloading them elsewhere."""
    original = module.LearnedPerceptualImagePatchSimilarity

    class LocalLPIPS(original):
        """torchmetrics' LPIPS that never downloads: without weights on disk it says so once and gives NaN."""

        def __init__(
            self, net_type: Any = "alex", reduction: Any = "mean", normalize: Any = False, **kw: Any
        ):
            self.has_weights = net_type != "alex" or lpips_weights_available()
            if self.has_weights:
                super().__init__(net_type, reduction, normalize, **kw)
                return
            print(
                f"LPIPS is reported as NaN: {_ALEXNET_WEIGHTS} is not in torch.hub's checkpoint folder.",
                file=sys.stderr,
            )
            super(original, self).__init__(**kw)

        def update(self, img1: Any, img2: Any) -> None:
            if self.has_weights:
                super().update(img1, img2)

        def compute(self) -> Any:
            import torch

            return super().compute() if self.has_weights else torch.tensor(float("nan"))

    LocalLPIPS.__name__ = LocalLPIPS.__qualname__ = original.__name__
    _replace(module, "LearnedPerceptualImagePatchSimilarity", LocalLPIPS)


def _patch_viewer(module: ModuleType) -> None:
    """Let `ns-viewer` of our methods listen on this machine only, unless its command line names a host.

    Nerfstudio's default is every network interface, and `ns-viewer` ignores what the training was set to.
    """
    original = module.Viewer.__init__

    @wraps(original)
    def __init__(
        self: Any, config: Any, log_filename: Any, datapath: Any, pipeline: Any, *args: Any, **kw: Any
    ):
        ours = type(pipeline).__module__.startswith("dyn3d_ns.")
        named = any("websocket-host" in word.replace("_", "-") for word in sys.argv)
        if ours and not named and config.websocket_host == _EVERY_INTERFACE:
            config.websocket_host = "127.0.0.1"
            print(
                "The viewer is reachable from this machine only; "
                f"--viewer.websocket-host {_EVERY_INTERFACE} opens it to the network."
            )
        log_filename.parent.mkdir(parents=True, exist_ok=True)  # the training's folder may have moved
        original(self, config, log_filename, datapath, pipeline, *args, **kw)

    _replace(module.Viewer, "__init__", __init__)


def let_processes_end(module: ModuleType) -> None:
    """Let a viewer start while some other process ends.

    viser looks through all processes for a `yarn start` of its own client and fails on one that is gone.
    """
    original = module._check_viser_yarn_running

    @wraps(original)
    def _check_viser_yarn_running() -> bool:
        import psutil

        try:
            return original()
        except psutil.NoSuchProcess:
            return False

    _replace(module, "_check_viser_yarn_running", _check_viser_yarn_running)


def _patch_camera_paths(module: ModuleType) -> None:
    """Keep the times of the cameras that `ns-render interpolate` interpolates between.

    `ns-render` holds the function itself before our plugins are discovered, so its code is exchanged.
    """
    function: Any = module.get_interpolated_camera_path
    if getattr(function, "_dyn3d_compat", False):
        return
    parts: Any = module
    parts._dyn3d_stock = FunctionType(function.__code__, function.__globals__, "stock_interpolated_path")
    parts._dyn3d_timed = interpolated_camera_path

    def get_interpolated_camera_path(cameras: Any, steps: int, order_poses: bool) -> Any:
        return _dyn3d_timed(cameras, steps, order_poses)  # type: ignore  # noqa: F821  # a name over there

    function.__code__ = get_interpolated_camera_path.__code__
    function._dyn3d_compat = True


def interpolated_camera_path(cameras: Any, steps: int, order_poses: bool) -> Any:
    """Return Nerfstudio's path through cameras, with their times interpolated where they have any."""
    from nerfstudio.cameras import camera_paths

    stock: Any = vars(camera_paths)["_dyn3d_stock"]
    path = stock(cameras, steps, order_poses)
    if cameras.times is not None:
        # The stock function orders poses and interpolates intrinsics alike: times travel in their place.
        as_intrinsics = cameras.times.reshape(-1, 1, 1).expand(-1, 3, 3)
        times = camera_paths.get_interpolated_poses_many(
            cameras.camera_to_worlds, as_intrinsics, steps_per_transition=steps, order_poses=order_poses
        )[1]
        path.times = times[:, 0, :1]
    return path


def _patch_nerfstudio_dataparser(module: ModuleType) -> None:
    """Read the points of a transforms.json where open3d cannot be loaded, for want of a system library."""
    stock = module.Nerfstudio._load_3D_points

    @wraps(stock)
    def load_points(parser: Any, ply_file_path: Path, transform_matrix: Any, scale_factor: float) -> Any:
        try:
            return stock(parser, ply_file_path, transform_matrix, scale_factor)
        except (ImportError, OSError):
            import torch

            from dyn3d_ns.io.ply import read_points

            cloud = read_points(ply_file_path)
            xyz = torch.from_numpy(cloud.xyz.copy()).float()
            xyz = (xyz @ transform_matrix[:, :3].T + transform_matrix[:, 3]) * scale_factor
            return {"points3D_xyz": xyz, "points3D_rgb": torch.from_numpy(cloud.rgb.copy())}

    _replace(module.Nerfstudio, "_load_3D_points", load_points)


def _replace(owner: Any, name: str, value: Any) -> None:
    """Set an attribute once; a second repair of the same thing changes nothing."""
    if not getattr(getattr(owner, name), "_dyn3d_compat", False):
        value._dyn3d_compat = True
        setattr(owner, name, value)


def _writable_cache() -> Path:
    """Return the user's own folder for the ffmpeg link, below the temporary one if the home is read-only."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    candidates = [
        Path(base) if base else Path.home() / ".cache",
        Path(tempfile.gettempdir()) / f"dyn3d_ns-{user}",
    ]
    for candidate in candidates:
        folder = candidate / "dyn3d_ns" / "bin"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Another user's folder in a shared /tmp is not one to run programs from.
        mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        if mine and os.access(folder, os.W_OK):
            return folder
    raise RuntimeError(
        f"no folder to put an ffmpeg link in: none of {[str(c) for c in candidates]} is writable. "
        "Set XDG_CACHE_HOME to a writable folder or install ffmpeg."
    )


def _link_or_copy(binary: Path, link: Path) -> None:
    """Make ``link`` be ``binary`` in one step, so that two commands starting at once do not collide."""
    temporary = link.with_name(f"{os.getpid()}.{link.name}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(binary)
    except OSError:  # Windows without the right to make links
        shutil.copy2(binary, temporary)
    temporary.replace(link)


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "nerfstudio.utils.install_checks": _patch_install_checks,
    "nerfstudio.data.datamanagers.full_images_datamanager": _patch_full_images_datamanager,
    "torchmetrics.image.lpip": _patch_lpips,
    "nerfstudio.viewer.viewer": _patch_viewer,
    "viser._client_autobuild": let_processes_end,
    "nerfstudio.cameras.camera_paths": _patch_camera_paths,
    "nerfstudio.data.dataparsers.nerfstudio_dataparser": _patch_nerfstudio_dataparser,
}
_IMPORT_HOOK = ImportHook(_PATCHES)
