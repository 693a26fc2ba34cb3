"""The CPU backend: projection, colours and blending put together as in gsplat's `rasterization`."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.rendering.autograd import HarmonicColors, Project, ProjectionSettings
from dyn3d_ns.rendering.blend import MAX_CHANNELS, AbsGradTarget, Blend, BlendSettings
from dyn3d_ns.rendering.checks import CAMERA_MODELS, Inputs, Options
from dyn3d_ns.rendering.info import RasterInfo, collect_info
from dyn3d_ns.rendering.projection import SQUARE_RADIUS, TIGHT_RADIUS


def _per_camera(values: Tensor, cameras: int, dims: int) -> Tensor:
    """Repeat Gaussian attributes [N, …] for each camera; [C, N, …], and all before a lone one, stay as they
    are."""
    return values if cameras == 1 or values.dim() == dims + 1 else values.expand(cameras, *values.shape)


def _upper(covars: Tensor) -> Tensor:
    """Pack symmetric matrices as xx, xy, xz, yy, yz, zz."""
    return covars[..., (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)].contiguous()


def _tight_extents(opacities: Tensor) -> Tensor:
    """Return 2 ln(255 opacity): the squared number of sigmas at which alpha falls to 1/255."""
    return 2.0 * torch.log(255.0 * opacities.detach().clamp_min(1e-30))


def _centers(viewmats: Tensor) -> Tensor:
    """Return where cameras stand, the same with and without gradients.

    A matrix library takes longer than a small kernel: it is called for gradients and for projective matrices.
    """
    rows = viewmats.tolist()
    if any(row[3] != [0.0, 0.0, 0.0, 1.0] for row in rows):
        return torch.linalg.inv(viewmats)[:, :3, 3]
    centers = torch.tensor([_center(*row[:3]) for row in rows])
    if viewmats.requires_grad:
        inverse = torch.linalg.inv(viewmats)[:, :3, 3]
        centers = centers + (inverse - inverse.detach())
    return centers


def _center(a: list[float], b: list[float], c: list[float]) -> list[float]:
    """Solve R x = -t for the rows (R | t) of an affine transform by Cramer's rule."""

    def cross(u: list[float], v: list[float]) -> tuple[float, float, float]:
        return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]

    bc, ca, ab = cross(b, c), cross(c, a), cross(a, b)
    scale = -1.0 / (a[0] * bc[0] + a[1] * bc[1] + a[2] * bc[2])
    return [scale * (a[3] * bc[i] + b[3] * ca[i] + c[3] * ab[i]) for i in range(3)]


def rasterize_cpu(
    inputs: Inputs, options: Options, installed_rule: str
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"], RasterInfo]:
    """Render with our kernels; the arguments are checked.

    ``installed_rule`` is the installed gsplat's radius rule: "auto" means it, and radii have its shape.
    """
    means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, covars, tile_mask = inputs
    o, cameras, tight = options, viewmats.shape[0], options.radius_rule == "tight"
    if o.radius_rule == "auto":
        tight = installed_rule == "tight"
    width, height = int(o.width), int(o.height)
    settings = ProjectionSettings(
        width, height, o.near_plane, o.far_plane, o.radius_clip, o.eps2d,
        CAMERA_MODELS.index(o.camera_model), TIGHT_RADIUS if tight else SQUARE_RADIUS,
        o.rasterize_mode == "antialiased", o.sparse_grad and o.packed,
    )  # fmt: skip
    if covars is not None:
        quats, scales, covars = None, None, _upper(covars)
    means2d, depths, conics, compensations, radii = Project.apply(
        means, quats, scales, covars, _tight_extents(opacities) if tight else None, viewmats, Ks, settings
    )
    opacities = _per_camera(opacities, cameras, 1)
    if compensations is not None:
        opacities = opacities * compensations
    rgb = None
    if o.render_mode not in ("D", "ED"):
        if o.sh_degree is None:
            rgb = _per_camera(colors, cameras, 2)
        else:
            centers = _centers(viewmats)
            rgb = HarmonicColors.apply(means, colors, centers, radii, o.sh_degree)
    info = collect_info(
        means2d, depths, conics, opacities, radii, width, height, int(o.tile_size), o.packed,
        radii_per_axis=installed_rule == "tight",
    )  # fmt: skip
    target = None
    blended = info["means2d"]
    if o.packed:
        index = (info["camera_ids"], info["gaussian_ids"])
        blended = torch.zeros_like(means2d).index_put(index, blended)
    if o.absgrad:
        target = AbsGradTarget(
            info["means2d"], (info["camera_ids"], info["gaussian_ids"]) if o.packed else None
        )
    splats = Splats(blended, conics, opacities, rgb, depths, radii)
    image, alphas = _blend_chunks(
        splats, backgrounds, (width, height), o.render_mode, o.channel_chunk, target, tile_mask
    )
    return image, alphas, info


class Splats(NamedTuple):
    """Gaussians on the image plane."""

    means2d: Float[Tensor, "C N 2"]
    conics: Float[Tensor, "C N 3"]
    opacities: Float[Tensor, "*C N"]
    colors: Float[Tensor, "*C N D"] | None
    depths: Float[Tensor, "C N"]
    radii: Float[Tensor, "C 2 N"]


def _blend_chunks(
    splats: Splats,
    backgrounds: Float[Tensor, "C D"] | None,
    size: tuple[int, int],
    render_mode: str,
    channel_chunk: int,
    target: AbsGradTarget | None,
    tile_mask: Bool[Tensor, "C h w"] | None,
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"]]:
    """Blend all channels, at most 32 at a time; the depth rides with the last colours."""
    means2d, conics, opacities, rgb, depths, radii = splats
    record = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (means2d, conics, opacities, rgb, depths, backgrounds)
    )
    expected = render_mode in ("ED", "RGB+ED")
    with_depth = render_mode != "RGB"
    if rgb is None:
        settings = BlendSettings(*size, expected, record, target)
        seen = depths.detach(), radii, tile_mask
        return Blend.apply(means2d, conics, opacities, None, depths, None, *seen, settings)
    chunk = min(channel_chunk, MAX_CHANNELS)
    total = rgb.shape[-1] + with_depth
    images, alphas = [], None
    for start in range(0, total, chunk):
        stop = min(start + chunk, total)
        has_depth = with_depth and stop == total
        last = stop - has_depth
        whole = last - start == rgb.shape[-1]  # a slice costs as much as a small kernel
        part = rgb if whole else rgb[..., start:last] if last > start else None
        behind = backgrounds if whole or backgrounds is None else backgrounds[:, start:last]
        if has_depth and behind is not None:
            behind = torch.cat([behind, behind.new_zeros(behind.shape[0], 1)], dim=-1)
        settings = BlendSettings(*size, expected and has_depth, record, target)
        image, alphas_part = Blend.apply(
            means2d, conics, opacities, part, depths if has_depth else None, behind, depths.detach(), radii,
            tile_mask, settings,
        )  # fmt: skip
        images.append(image)
        alphas = alphas_part if alphas is None else alphas
    assert alphas is not None
    return (images[0] if len(images) == 1 else torch.cat(images, dim=-1)), alphas
