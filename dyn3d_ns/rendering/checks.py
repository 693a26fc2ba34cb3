"""What `rasterize` accepts: every argument is looked at once, at the door, and an error names it."""

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, SupportsFloat

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_SH_DEGREE = 4
CAMERA_MODELS = ("pinhole", "ortho", "fisheye")
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


class Inputs(NamedTuple):
    """The tensors of a call of `rasterize`, which says what they are."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"] | None
    scales: Float[Tensor, "N 3"] | None
    opacities: Float[Tensor, " N"]
    colors: Float[Tensor, "*C N D"] | Float[Tensor, "*C N K 3"]
    viewmats: Float[Tensor, "C 4 4"]
    Ks: Float[Tensor, "C 3 3"]
    backgrounds: Float[Tensor, "C D"] | None
    covars: Float[Tensor, "N 3 3"] | None
    tile_mask: Bool[Tensor, "C h w"] | None = None


class Options(NamedTuple):
    """The other arguments of a call of `rasterize`.

    Tuples, since a frozen dataclass of so many fields takes as long to make as a small kernel to run.
    """

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    sh_degree: int | None
    packed: bool
    tile_size: int
    render_mode: str
    sparse_grad: bool
    absgrad: bool
    rasterize_mode: str
    channel_chunk: int
    distributed: bool
    camera_model: str
    radius_rule: str


def choose(value: object, allowed: Sequence[str], name: str) -> None:
    """Raise ValueError unless the value is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def check_options(o: Options) -> None:
    """Check everything that is not a tensor."""
    for name, size in (("width", o.width), ("height", o.height)):
        if not _is_whole(size) or size < 0:
            raise ValueError(f"{name} is {size!r}; it must be a whole number of pixels, 0 or more")
    for name, number in (
        ("near_plane", o.near_plane), ("far_plane", o.far_plane), ("radius_clip", o.radius_clip),
        ("eps2d", o.eps2d),
    ):  # fmt: skip
        # a protocol is slow to ask about: first what almost every number is
        if not isinstance(number, (int, float, SupportsFloat)) or math.isnan(float(number)):
            raise ValueError(f"{name} is {number!r}; it must be a number")
    if not 0 <= o.eps2d < math.inf:
        raise ValueError(
            f"eps2d is {o.eps2d}; it must be 0 or more, and finite: it is added to the covariance"
        )
    for name, size in (("channel_chunk", o.channel_chunk), ("tile_size", o.tile_size)):
        if not _is_whole(size) or size < 1:
            raise ValueError(f"{name} is {size!r}; it must be a whole number of at least 1")
    if o.distributed:
        raise ValueError(
            "distributed=True spreads Gaussians over the GPUs of several processes; on CPU tensors one "
            "process renders with all its threads: pass distributed=False"
        )
    choose(o.render_mode, RENDER_MODES, "render_mode")
    choose(o.rasterize_mode, ("classic", "antialiased"), "rasterize_mode")
    choose(o.camera_model, CAMERA_MODELS, "camera_model")
    choose(o.radius_rule, ("auto", "square", "tight"), "radius_rule")


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


def check_tile_mask(mask: object, cameras: int, width: int, height: int) -> None:
    """Raise ValueError unless a mask, if there is one, says yes or no of each tile of each image."""
    if mask is None:
        return
    from dyn3d_ns.rendering.binning import TILE

    shape = (cameras, -(-height // TILE), -(-width // TILE))
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
        what = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"tile_mask is {what}; it must be torch.bool {list(shape)}, tiles of {TILE} pixels")


def check_tensors(t: Inputs, sh_degree: int | None, render_mode: str) -> None:
    """Check all tensor arguments against the number of Gaussians (means) and of cameras (viewmats)."""
    means, viewmats, colors, backgrounds = t.means, t.viewmats, t.colors, t.backgrounds
    n = means.shape[0] if isinstance(means, Tensor) and means.dim() else 0
    cameras = viewmats.shape[0] if isinstance(viewmats, Tensor) and viewmats.dim() else 0
    _check("means", means, (n, 3), "[N, 3]")
    if t.covars is None:
        _check("quats", t.quats, (n, 4), "[N, 4] (w, x, y, z)")
        _check("scales", t.scales, (n, 3), "[N, 3]")
    else:
        _check("covars", t.covars, (n, 3, 3), "[N, 3, 3]")
    _check("opacities", t.opacities, (n,), "[N]")
    _check("viewmats", viewmats, (cameras, 4, 4), "[C, 4, 4] (world to camera)")
    if cameras == 0:
        raise ValueError("viewmats holds no camera; give at least one [C, 4, 4]")
    _check("Ks", t.Ks, (cameras, 3, 3), "[C, 3, 3]")
    _check_colors(colors, cameras, n, sh_degree)
    if backgrounds is not None:
        channels = 3 if sh_degree is not None else colors.shape[-1]
        if render_mode in ("D", "ED"):
            channels = backgrounds.shape[-1]  # ignored by gsplat in these modes
        _check("backgrounds", backgrounds, (cameras, channels), "[C, D]")
    shape = {"quats": t.quats, "scales": t.scales}
    if t.covars is not None:
        shape = {"covars": t.covars, "scales": None}
    _check_finite(
        means=means, **shape, opacities=t.opacities, viewmats=viewmats, Ks=t.Ks, colors=colors,
        backgrounds=backgrounds,
    )  # fmt: skip
    _check_cameras(viewmats, t.Ks)
