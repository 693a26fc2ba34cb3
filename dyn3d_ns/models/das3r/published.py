"""Published figures of DAS3R and of what it was compared with, to stand beside ours.

Source of all of them: DAS3R (Xu, Tan, Li, Qu and Bai), arXiv 2412.19584, as in the tables that the authors
show in their repository. PSNR in dB over static pixels, in the paper's way of counting: rendering and image
are black where the true mask is, and the error is averaged over all pixels.
"""

from __future__ import annotations

SOURCE = "DAS3R, arXiv 2412.19584"

DAVIS = (
    "blackswan", "camel", "car-shadow", "dog", "horsejump-high", "motocross-jump", "parkour", "soapbox",
)  # fmt: skip
SINTEL = (
    "alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6",
    "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
SEQUENCES = {"DAVIS": DAVIS, "Sintel": SINTEL}

PSNR: dict[str, dict[str, tuple[float, ...]]] = {
    "DAVIS": {
        "WildGaussians": (18.95, 19.19, 21.45, 19.74, 18.79, 7.91, 18.89, 20.55),
        "Robust3DGS": (19.58, 21.31, 29.31, 22.48, 20.87, 13.83, 21.29, 22.55),
        "SLS-mlp": (21.14, 25.62, 22.77, 23.82, 18.78, 17.82, 23.15, 22.43),
        "MonST3R+InstantSplat": (20.30, 20.97, 25.55, 24.41, 24.38, 18.95, 25.26, 25.35),
        "DAS3R w/o static conf": (24.12, 27.06, 31.04, 28.53, 21.11, 17.92, 26.90, 26.11),
        "DAS3R": (23.90, 27.27, 29.13, 28.63, 25.09, 17.09, 28.09, 26.41),
    },
    "Sintel": {
        "WildGaussians": (
            16.75, 21.43, 7.87, 4.02, 26.69, 27.68, 23.14, 11.47, 16.56, 32.29, 15.38, 17.06, 16.50, 15.15,
        ),
        "Robust3DGS": (
            17.96, 19.18, 12.20, 10.46, 27.70, 29.68, 22.28, 16.85, 16.23, 35.88, 15.58, 15.93, 12.68, 20.68,
        ),
        "SLS-mlp": (
            19.09, 19.75, 14.14, 5.50, 27.62, 29.20, 23.74, 17.73, 17.76, 36.84, 19.05, 21.61, 19.12, 22.12,
        ),
        "MonST3R+InstantSplat": (
            27.70, 22.51, 18.04, 14.75, 27.40, 31.94, 27.12, 23.57, 26.86, 43.89, 31.20, 35.73, 28.84, 21.00,
        ),
        "DAS3R w/o static conf": (
            31.50, 24.61, 26.23, 18.71, 28.32, 32.06, 28.11, 26.41, 20.05, 44.45, 14.98, 14.70, 21.44, 23.78,
        ),
        "DAS3R": (
            31.10, 24.52, 26.28, 19.26, 28.32, 31.86, 29.03, 26.49, 23.58, 45.60, 26.30, 25.67, 27.18, 23.90,
        ),
    },
}  # fmt: skip
"""Dataset, method, one figure a sequence in the order of :data:`SEQUENCES`."""

MEAN_PSNR: dict[str, dict[str, float]] = {
    "DAVIS": {
        "WildGaussians": 18.18, "Robust3DGS": 21.40, "SLS-mlp": 21.94, "MonST3R+InstantSplat": 23.14,
        "DAS3R w/o static conf": 25.35, "DAS3R": 25.70,
    },
    "Sintel": {
        "WildGaussians": 18.00, "Robust3DGS": 19.52, "SLS-mlp": 20.95, "MonST3R+InstantSplat": 27.18,
        "DAS3R w/o static conf": 25.38, "DAS3R": 27.79,
    },
}  # fmt: skip
"""Dataset, method, mean over all sequences as printed."""

MASK_J: dict[str, dict[str, float]] = {
    "DAVIS": {"MonST3R": 32.5, "DAS3R": 39.7},
    "Sintel": {"MonST3R": 37.1, "DAS3R": 59.3},
}
"""Dataset, method, mean overlap of masks over all frames, percent."""

POSES: dict[str, dict[str, tuple[float, float, float]]] = {
    "Sintel": {
        "Robust-CVD": (0.360, 0.154, 3.443),
        "CasualSAM": (0.141, 0.035, 0.615),
        "MonST3R": (0.108, 0.042, 0.732),
        "DAS3R": (0.107, 0.041, 0.669),
    }
}
"""Dataset, method: ATE, RPE of the translation, RPE of the rotation in degrees, means over sequences."""
