"""PLY of 3D Gaussian Splatting, one file an instant."""

from __future__ import annotations

from dyn3d_ns.export.written import provenance
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.ply import pack_splats
from dyn3d_ns.io.splats import About, Splats

SUFFIX = ".ply"
MAX_DEGREE = 3
LOSS = "exact, opacities between 1e-6 and 1 - 1e-6"


def encode_ply(splats: Splats, about: About) -> bytes:
    """Return an instant as a PLY; where it comes from stands in comments.

    Raises:
        CommandError: the degree is above 3, which readers refuse or scramble.
    """
    if splats.degree > MAX_DEGREE:
        raise CommandError(
            f"PLY readers take colours up to degree {MAX_DEGREE}, and these have {splats.degree}"
        )
    comments = [f"{name}: {value}" for name, value in provenance(about).items()]
    return pack_splats(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, comments=comments
    )
