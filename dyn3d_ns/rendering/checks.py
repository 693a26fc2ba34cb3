"""What `rasterize` accepts: every argument is looked at once, at the door, and an error names it."""

import math
import operator
from collections.abc import Sequence
from typing import SupportsFloat

import torch
from torch import Tensor

MAX_SH_DEGREE = 4


def choose(value: object, allowed: Sequence[str], name: str) -> None:
    """Raise ValueError unless the value is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def check_options(
    width, height, near_plane, far_plane, radius_clip, eps2d, tile_size, channel_chunk, distributed,
    render_mode, rasterize_mode, camera_model, radius_rule,
) -> None:  # fmt: skip
    """Check everything that is not a tensor."""
    for name, size in (("width", width), ("height", height)):
        if not _is_whole(size) or size < 0:
            raise ValueError(f"{name} is {size!r}; it must be a whole number of pixels, 0 or more")
    for name, number in (
        ("near_plane", near_plane), ("far_plane", far_plane), ("radius_clip", radius_clip), ("eps2d", eps2d),
    ):  # fmt: skip
        # a protocol is slow to ask about: first what almost every number is
        if not isinstance(number, (int, float, SupportsFloat)) or math.isnan(float(number)):
            raise ValueError(f"{name} is {number!r}; it must be a number")
    if not 0 <= eps2d < math.inf:
        raise ValueError(f"eps2d is {eps2d}; it must be 0 or more, and finite: it is added to the covariance")
    for name, size in (("channel_chunk", channel_chunk), ("tile_size", tile_size)):
        if not _is_whole(size) or size < 1:
            raise ValueError(f"{name} is {size!r}; it must be a whole number of at least 1")
    if distributed:
        raise ValueError(
            "distributed=True spreads Gaussians over the GPUs of several processes; on CPU tensors one "
            "process renders with all its threads: pass distributed=False"
        )
    choose(render_mode, ("RGB", "D", "ED", "RGB+D", "RGB+ED"), "render_mode")
    choose(rasterize_mode, ("classic", "antialiased"), "rasterize_mode")
    choose(camera_model, ("pinhole", "ortho", "fisheye"), "camera_model")
    choose(radius_rule, ("auto", "square", "tight"), "radius_rule")


def _is_whole(value: object) -> bool:
    """Tell whether the value is an integer, of Python, NumPy or a tensor of one element."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def check_device(means: object) -> None:
    """Raise ValueError unless means is a tensor on the CPU or a CUDA device: it decides the backend."""
    if not isinstance(means, Tensor):
        raise ValueError(f"means is {type(means).__name__}; it must be a tensor of shape [N, 3]")
    if means.device.type not in ("cpu", "cuda"):
        raise ValueError(f"means is on {means.device}; Gaussians are rendered on the CPU or on CUDA devices")


def _check(name: str, tensor: object, shape: tuple[int, ...], like: str) -> None:
    """Check type, device, dtype and shape of one tensor."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} is {type(tensor).__name__}; it must be a tensor of shape {like}")
    if not tensor.is_cpu:
        raise ValueError(
            f"{name} is on {tensor.device} but means is on the CPU; put all tensors on one device"
        )
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} has dtype {tensor.dtype}; it must be torch.float32 (use .float())")
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}, that is {like}")


def _check_finite(**tensors: Tensor | None) -> None:
    """Raise on the first tensor with a value that is not finite: one pass over all, then a close look."""
    from dyn3d_ns.rendering.autograd import flat
    from dyn3d_ns.rendering.finite import all_finite

    if all_finite(*map(flat, tensors.values())):
        return
    for name, tensor in tensors.items():
        bad = [] if tensor is None else (~tensor.detach().isfinite()).nonzero()
        if len(bad):
            raise ValueError(
                f"{name} has {len(bad)} NaN or infinite values, the first at {tuple(bad[0].tolist())}"
            )


def _check_colors(colors: object, cameras: int, n: int, sh_degree: int | None) -> None:
    if not isinstance(colors, Tensor):
        raise ValueError(f"colors is {type(colors).__name__}; it must be a tensor")
    if sh_degree is None:
        leading = (n,) if colors.dim() == 2 else (cameras, n)
        channels = colors.shape[-1] if colors.dim() else 0
        _check("colors", colors, (*leading, channels), "[N, D] or [C, N, D]")
        if channels < 1:
            raise ValueError(f"colors has shape {tuple(colors.shape)}; it needs at least one channel")
        return
    if not _is_whole(sh_degree) or not 0 <= sh_degree <= MAX_SH_DEGREE:
        raise ValueError(f"sh_degree is {sh_degree!r}; it must be None or 0 to {MAX_SH_DEGREE}")
    bases = colors.shape[-2] if colors.dim() > 1 else 0
    leading = (n,) if colors.dim() == 3 else (cameras, n)
    _check("colors", colors, (*leading, bases, 3), "[N, K, 3] or [C, N, K, 3] with sh_degree")
    if bases < (sh_degree + 1) ** 2:
        raise ValueError(
            f"colors has {bases} coefficients but sh_degree {sh_degree} needs {(sh_degree + 1) ** 2} of them"
        )


def _check_cameras(viewmats: Tensor, Ks: Tensor) -> None:
    """Raise on cameras that project nothing: a singular matrix or rotation part, or a zero focal length."""
    for c, (x, y, z, last) in enumerate(viewmats.tolist()):
        # for nine numbers quicker than a call of a linear algebra library
        volume = (
            x[0] * (y[1] * z[2] - y[2] * z[1])
            + x[1] * (y[2] * z[0] - y[0] * z[2])
            + x[2] * (y[0] * z[1] - y[1] * z[0])
        )
        projective = last != [0.0, 0.0, 0.0, 1.0]
        if abs(volume) < 1e-12 or (projective and abs(float(torch.linalg.det(viewmats[c].double()))) < 1e-12):
            raise ValueError(f"viewmats[{c}] is singular; it must be an invertible transform")
    for c, rows in enumerate(Ks.tolist()):
        if rows[0][0] == 0.0 or rows[1][1] == 0.0:
            raise ValueError(f"Ks[{c}] has a focal length of 0 pixels")


def check_tensors(
    means, quats, scales, covars, opacities, colors, viewmats, Ks, backgrounds, sh_degree, render_mode
) -> None:
    """Check all tensor arguments against the number of Gaussians (means) and of cameras (viewmats)."""
    n = means.shape[0] if isinstance(means, Tensor) and means.dim() else 0
    cameras = viewmats.shape[0] if isinstance(viewmats, Tensor) and viewmats.dim() else 0
    _check("means", means, (n, 3), "[N, 3]")
    if covars is None:
        _check("quats", quats, (n, 4), "[N, 4] (w, x, y, z)")
        _check("scales", scales, (n, 3), "[N, 3]")
    else:
        _check("covars", covars, (n, 3, 3), "[N, 3, 3]")
    _check("opacities", opacities, (n,), "[N]")
    _check("viewmats", viewmats, (cameras, 4, 4), "[C, 4, 4] (world to camera)")
    if cameras == 0:
        raise ValueError("viewmats holds no camera; give at least one [C, 4, 4]")
    _check("Ks", Ks, (cameras, 3, 3), "[C, 3, 3]")
    _check_colors(colors, cameras, n, sh_degree)
    if backgrounds is not None:
        channels = 3 if sh_degree is not None else colors.shape[-1]
        if render_mode in ("D", "ED"):
            channels = backgrounds.shape[-1]  # ignored by gsplat in these modes
        _check("backgrounds", backgrounds, (cameras, channels), "[C, D]")
    shape = {"covars": covars, "scales": None} if covars is not None else {"quats": quats, "scales": scales}
    _check_finite(
        means=means, **shape, opacities=opacities, viewmats=viewmats, Ks=Ks, colors=colors,
        backgrounds=backgrounds,
    )  # fmt: skip
    _check_cameras(viewmats, Ks)
