"""`rasterize`: gsplat's `rasterization` on the tensors' own device."""

import functools
import importlib.metadata
from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.rendering import checks


@functools.cache
def installed_radius_rule() -> str:
    """Return the radius rule of the installed gsplat: "square" before 1.5, "tight" since."""
    version = importlib.metadata.version("gsplat").split(".")
    return "tight" if (int(version[0]), int(version[1])) >= (1, 5) else "square"


def rasterize(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"] | None,
    scales: Float[Tensor, "N 3"] | None,
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "*C N D"] | Float[Tensor, "*C N K 3"],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Float[Tensor, "C D"] | None = None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: Literal["pinhole", "ortho", "fisheye"] = "pinhole",
    covars: Float[Tensor, "N 3 3"] | None = None,
    *,
    tile_mask: Bool[Tensor, "C h w"] | None = None,
    backend: Literal["auto", "gsplat", "cpu"] = "auto",
    radius_rule: Literal["auto", "square", "tight"] = "auto",
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"], dict[str, Any]]:
    """Render N Gaussians into C images, differentiably, with gsplat on CUDA tensors and our kernels on CPU
    tensors.

    Arguments, conventions and results are those of `gsplat.rasterization` 1.4.0: quaternions wxyz of any
    length, linear scales, opacities in 0…1, colours [(C,) N, D] or SH coefficients [(C,) N, K, 3] with
    `sh_degree`, cameras world-to-camera (OpenCV axes) and intrinsics in pixels. X is D (RGB), 1 (D, ED) or D
    + 1.

    Args:
        tile_mask: tiles of 16 pixels that are needed. The CPU leaves the others empty and without gradients;
            CUDA, whose `rasterization` takes no such mask, renders them too.
        backend: "auto" goes by the device of `means`; "gsplat" or "cpu" insist on one.
        radius_rule: how far a Gaussian reaches (CPU): "square" is gsplat 1.4's 3-sigma square, "tight" gsplat
            1.5's opacity-aware rectangle, "auto" the installed gsplat's.
        tile_size: on the CPU it changes only the tiles that `info` tells of; images are those of tiles of 16
            pixels.

    Returns:
        Images, alphas, and a dict with gsplat's keys, among them what its strategies read (means2d, radii,
        gaussian_ids, …). On the CPU there are no lists of tiles (tiles_per_gauss, isect_ids, flatten_ids,
        isect_offsets); "radii" are computed when they are first read (see `RasterInfo`) and have the shape
        that the installed gsplat's strategies read, whatever the rule; rows of Gaussians that a camera does
        not see are zero.

    Raises:
        ValueError: on a wrong shape, dtype or option, or on values that are not finite; it names the
        argument. Also on `distributed` on the CPU.
    """
    checks.choose(backend, ("auto", "gsplat", "cpu"), "backend")
    checks.check_device(means)
    on_cuda = means.is_cuda
    if backend == "gsplat" and not on_cuda:
        raise ValueError(
            f'backend="gsplat" needs CUDA tensors; means is on {means.device}. Use "auto" or "cpu".'
        )
    if backend == "cpu" and on_cuda:
        raise ValueError(
            f'backend="cpu" needs CPU tensors; means is on {means.device}. Move the tensors or use "auto".'
        )
    if on_cuda:
        from gsplat.rendering import rasterization as gsplat_rasterization

        rasterization: Any = gsplat_rasterization  # its annotations know no covars without quats

        return rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, far_plane,
            radius_clip, eps2d, sh_degree, packed, tile_size, backgrounds, render_mode, sparse_grad, absgrad,
            rasterize_mode, channel_chunk, distributed, camera_model, covars,
        )  # fmt: skip
    inputs = checks.Inputs(
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, covars, tile_mask
    )
    options = checks.Options(
        width, height, near_plane, far_plane, radius_clip, eps2d, sh_degree, packed, tile_size, render_mode,
        sparse_grad, absgrad, rasterize_mode, channel_chunk, distributed, camera_model, radius_rule,
    )  # fmt: skip
    checks.check_options(options)
    checks.check_tensors(inputs, sh_degree, render_mode)
    checks.check_tile_mask(tile_mask, viewmats.shape[0], width, height)
    from dyn3d_ns.rendering.cpu import rasterize_cpu

    return rasterize_cpu(inputs, options, installed_radius_rule())
