"""Sets of Gaussians: what they are at one time, how they start, and what carries them through time."""

from dyn3d_ns.gaussians.gaussians import Gaussians as Gaussians
