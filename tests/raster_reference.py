"""gsplat's conventions written out plainly in float64 torch: every pixel against every Gaussian, with
autograd."""

import torch

ALPHA_MIN = 1.0 / 255.0
SH = (0.28209479177387814, 0.4886025119029199)


def rotation(q):
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(r, -1) for r in rows], -2)


def image_plane(p, K, width, height, model):
    """Return image points [N, 2] and Jacobians [N, 2, 3] of camera points [N, 3]."""
    x, y, z = p.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    o = torch.zeros_like(x)
    if model == "ortho":
        uv = torch.stack([fx * x + cx, fy * y + cy], -1)
        J = torch.stack([o + fx, o, o, o, o + fy, o], -1)
    elif model == "fisheye":
        eps = 1e-7
        r = (x * x + y * y) ** 0.5 + eps
        k = torch.atan2(r, z + eps) / r
        uv = torch.stack([fx * x * k + cx, fy * y * k + cy], -1)
        x2, y2 = x * x + eps, y * y
        s = x2 + y2
        q = 1 / (s + z * z)
        b, a = torch.atan2(r, z) / r / s, z * q / s
        J = torch.stack(
            [fx * (x2 * a + y2 * b), fx * x * y * (a - b), -fx * x * q,
             fy * x * y * (a - b), fy * (y2 * a + x2 * b), -fy * y * q], -1)  # fmt: skip
    else:
        uv = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
        mx, my = 0.15 * width / fx, 0.15 * height / fy
        tx = z * torch.minimum(torch.maximum(x / z, -(cx / fx + mx)), (width - cx) / fx + mx)
        ty = z * torch.minimum(torch.maximum(y / z, -(cy / fy + my)), (height - cy) / fy + my)
        J = torch.stack([fx / z, o, -fx * tx / z**2, o, fy / z, -fy * ty / z**2], -1)
    return uv, J.reshape(-1, 2, 3)


def project(means, quats, scales, opacities, V, K, width, height, near=0.01, far=1e10,
            radius_clip=0.0, eps2d=0.3, model="pinhole",
            covars=None, tight=False, antialiased=False):  # fmt: skip
    """Return means2d, conics, depths, compensations and integer radii [N, 2] (0 where culled)."""
    if covars is None:
        M = rotation(quats) * scales[:, None, :]
        covars = M @ M.transpose(-1, -2)
    else:  # as gsplat, only the upper triangle is read
        covars = torch.triu(covars) + torch.triu(covars, 1).transpose(-1, -2)
    p = means @ V[:3, :3].T + V[:3, 3]
    uv, J = image_plane(p, K, width, height, model)
    A = J @ V[:3, :3]
    cov = A @ covars @ A.transpose(-1, -2)
    det0 = cov[:, 0, 0] * cov[:, 1, 1] - cov[:, 0, 1] ** 2
    a, b, c = cov[:, 0, 0] + eps2d, cov[:, 0, 1], cov[:, 1, 1] + eps2d
    det = a * c - b * b
    rho = (det0 / det).clamp_min(0).sqrt()
    conics = torch.stack([c / det, -b / det, a / det], -1)
    with torch.no_grad():
        largest = 0.5 * (a + c) + ((0.5 * (a + c)) ** 2 - det).clamp_min(0.01).sqrt()
        shown = torch.ones_like(det, dtype=torch.bool)
        if tight:
            op = opacities * rho if antialiased else opacities
            shown = op >= ALPHA_MIN
            extent = (2 * (op * 255).clamp_min(1).log()).sqrt().clamp_max(3.33)
            radii = torch.stack(
                [
                    (extent * torch.minimum(a, largest).sqrt()).ceil(),
                    (extent * torch.minimum(c, largest).sqrt()).ceil(),
                ],
                -1,
            )
        else:
            radii = (3 * largest.sqrt()).ceil()[:, None].expand(-1, 2)
        x, y = uv.unbind(-1)
        shown &= (det > 0) & (p[:, 2] >= near) & (p[:, 2] <= far) & (radii > radius_clip).any(-1)
        shown &= (
            (x + radii[:, 0] > 0)
            & (x - radii[:, 0] < width)
            & (y + radii[:, 1] > 0)
            & (y - radii[:, 1] < height)
        )
        radii = radii * shown[:, None]
    return uv, conics, p[:, 2], rho, radii


def blend(uv, conics, opacities, colors, depths, radii, width, height, background=None, near_edge=None):
    """Return image [H, W, D], alpha [H, W]; fill near_edge (bool [H, W]) where rounding may decide
    otherwise."""
    order = [i for i in torch.argsort(depths.detach(), stable=True).tolist() if radii[i, 0] > 0]
    # of the Gaussians' type: torch would round a number of theirs to the type of a float32 grid
    ys, xs = (torch.arange(size, dtype=uv.dtype) for size in (height, width))
    ys, xs = torch.meshgrid(ys, xs, indexing="ij")
    image = torch.zeros(height, width, colors.shape[-1], dtype=colors.dtype)
    T = torch.ones(height, width, dtype=colors.dtype)
    alive = torch.ones(height, width, dtype=torch.bool)
    low, high = (
        ((uv.detach() - radii) / 16).floor().mul(16).tolist(),
        ((uv.detach() + radii) / 16).ceil().mul(16).tolist(),
    )
    # one gradient a row for all of them: indexing a row gives one as large as all rows
    rows = [t.unbind(0) for t in (uv, conics, opacities, colors)]
    for i in order:
        (x, y), (a, b, c), opacity, color = (r[i] for r in rows)
        lo, hi = low[i], high[i]
        inside = (xs >= lo[0]) & (xs < hi[0]) & (ys >= lo[1]) & (ys < hi[1])
        dx, dy = xs + 0.5 - x, ys + 0.5 - y
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        raw = opacity * torch.exp(-sigma)
        alpha = torch.where(raw > 0.999, torch.full_like(raw, 0.999), raw)
        use = inside & alive & (sigma >= 0) & (alpha >= ALPHA_MIN)
        rest = T * (1 - alpha)
        if near_edge is not None:
            near_edge |= inside & alive & ((raw.detach() * 255 - 1).abs() < 2e-4)
            near_edge |= use & ((rest.detach() * 1e4 - 1).abs() < 2e-4)
            near_edge |= use & ((raw.detach() / 0.999 - 1).abs() < 1e-5)
        alive = alive & ~(use & (rest <= 1e-4))
        use = use & alive
        weight = torch.where(use, T * alpha, torch.zeros_like(T))
        image = image + weight[..., None] * color
        T = torch.where(use, rest, T)
    if background is not None:
        image = image + T[..., None] * background
    return image, 1 - T


def harmonics(degree, directions, coefficients):
    """Spherical harmonics by associated Legendre recurrences (not the closed forms of the kernels)."""
    import math

    x, y, z = (directions / directions.norm(dim=-1, keepdim=True)).unbind(-1)
    total = 0.0
    for band in range(degree + 1):
        for m in range(-band, band + 1):
            k = abs(m)
            # P_l^m(z) / sin^m(theta) by recurrence, Condon-Shortley sign included
            p = torch.ones_like(z)
            for j in range(1, k + 1):
                p = p * -(2 * j - 1)
            previous, current = torch.zeros_like(z), p
            for j in range(k + 1, band + 1):
                previous, current = current, ((2 * j - 1) * z * current - (j + k - 1) * previous) / (j - k)
            norm = math.sqrt(
                (2 * band + 1) / (4 * math.pi) * math.factorial(band - k) / math.factorial(band + k)
            )
            re, im = torch.ones_like(x), torch.zeros_like(x)
            for _ in range(k):
                re, im = re * x - im * y, re * y + im * x
            angular = re if m >= 0 else im
            scale = norm * (math.sqrt(2) if m else 1.0)
            total = total + (scale * current * angular)[..., None] * coefficients[:, band * band + band + m]
    return total


def rasterize(means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01,
              far_plane=1e10, radius_clip=0.0, eps2d=0.3, sh_degree=None, backgrounds=None, render_mode="RGB",
              rasterize_mode="classic", camera_model="pinhole", covars=None, tight=False,
              near_edge=None):  # fmt: skip
    """Reference of `dyn3d_ns.rendering.rasterize`: images [C, H, W, X] and alphas [C, H, W, 1]."""
    images, alphas = [], []
    for k in range(len(viewmats)):
        V = viewmats[k]
        uv, conics, depths, rho, radii = project(
            means, quats, scales, opacities.detach(), V, Ks[k], width, height, near_plane, far_plane,
            radius_clip, eps2d, camera_model, covars, tight, rasterize_mode == "antialiased")  # fmt: skip
        op = opacities * rho if rasterize_mode == "antialiased" else opacities
        if sh_degree is None:
            rgb = colors if colors.dim() == 2 else colors[k]
        else:
            center = torch.linalg.inv(V)[:3, 3]
            sh = colors if colors.dim() == 3 else colors[k]
            rgb = (harmonics(sh_degree, means - center, sh) + 0.5).clamp_min(0)
        background = None if backgrounds is None else backgrounds[k]
        if render_mode in ("D", "ED"):
            rgb, background = depths[:, None], None
        elif "+" in render_mode:
            rgb = torch.cat([rgb, depths[:, None]], -1)
            background = None if background is None else torch.cat([background, background.new_zeros(1)])
        edge = None if near_edge is None else near_edge[k]
        image, alpha = blend(uv, conics, op, rgb, depths, radii, width, height, background, edge)
        if "ED" in render_mode:
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha[..., None].clamp_min(1e-10)], -1)
        images.append(image)
        alphas.append(alpha[..., None])
    return torch.stack(images), torch.stack(alphas)
