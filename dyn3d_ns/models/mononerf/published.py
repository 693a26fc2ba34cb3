"""Published figures on NVIDIA's Dynamic Scene, copied from papers and repositories, not measured here.

Protocol A (DynamicNeRF's): the camera of frame 0 at all 12 times, 480x270; mean PSNR of the images in dB and
LPIPS (AlexNet). The scenes of the same name in other packagings (DynIBaR's) are not comparable.
"""

from __future__ import annotations

from typing import NamedTuple

SCENES = ("Jumping", "Skating", "Truck", "Umbrella", "Balloon1", "Balloon2", "Playground")


class Published(NamedTuple):
    """A row of a published table, scenes in the order of ``SCENES``."""

    method: str
    psnr: tuple[float, ...]
    lpips: tuple[float, ...]
    psnr_mean: float
    """As printed."""
    lpips_mean: float
    source: str


_README, _SPLINE = "DynamicNeRF's repository", "SplineGS, table 1"
PROTOCOL_A = (
    Published(
        "NeRF",
        (20.99, 23.67, 22.73, 21.29, 19.82, 24.37, 21.07),
        (0.305, 0.311, 0.229, 0.440, 0.205, 0.098, 0.165),
        21.99, 0.250, _README,
    ),
    Published(
        "NeRF + t",
        (18.04, 20.32, 18.33, 17.69, 18.54, 20.69, 14.68),
        (0.455, 0.512, 0.382, 0.728, 0.275, 0.216, 0.421),
        18.33, 0.427, _README,
    ),
    Published(
        "NR-NeRF",
        (20.09, 23.95, 19.33, 19.63, 17.39, 22.41, 15.06),
        (0.287, 0.227, 0.446, 0.421, 0.348, 0.213, 0.317),
        19.69, 0.323, _README,
    ),
    Published(
        "NSFF",
        (24.65, 29.29, 25.96, 22.97, 21.96, 24.27, 21.22),
        (0.151, 0.129, 0.167, 0.295, 0.215, 0.222, 0.212),
        24.33, 0.199, _README,
    ),
    Published(
        "DynamicNeRF",
        (24.68, 32.66, 28.56, 23.26, 22.36, 27.06, 24.15),
        (0.090, 0.035, 0.082, 0.137, 0.104, 0.049, 0.080),
        26.10, 0.082, _README,
    ),
    Published(
        "MonoNeRF, a training a scene",
        (24.26, 32.06, 27.56, 23.62, 21.89, 27.36, 22.61),
        (0.091, 0.044, 0.115, 0.180, 0.129, 0.052, 0.130),
        25.62, 0.106, _SPLINE,
    ),
    Published(
        "RoDynRF",
        (25.66, 28.68, 29.13, 24.26, 22.37, 26.19, 24.96),
        (0.071, 0.040, 0.063, 0.089, 0.103, 0.054, 0.048),
        25.89, 0.067, _SPLINE,
    ),
    Published(
        "Casual-FVS",
        (23.45, 29.98, 25.22, 23.24, 23.76, 24.15, 22.19),
        (0.100, 0.045, 0.090, 0.096, 0.079, 0.081, 0.074),
        24.57, 0.081, _SPLINE,
    ),
    Published(
        "4DGaussians",
        (22.37, 26.72, 25.93, 22.36, 21.89, 24.85, 21.36),
        (0.178, 0.084, 0.097, 0.178, 0.153, 0.081, 0.089),
        23.64, 0.123, _SPLINE,
    ),
    Published(
        "MoSca",
        (25.21, 32.77, 28.22, 24.41, 23.26, 28.90, 23.05),
        (0.083, 0.033, 0.090, 0.092, 0.092, 0.042, 0.060),
        26.55, 0.070, _SPLINE,
    ),
    Published(
        "SplineGS",
        (25.50, 33.72, 28.66, 25.61, 24.43, 28.37, 24.19),
        (0.068, 0.031, 0.056, 0.071, 0.068, 0.032, 0.047),
        27.21, 0.053, _SPLINE,
    ),
)  # fmt: skip
