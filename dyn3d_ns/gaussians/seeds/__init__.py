"""Where Gaussians start: the visual hull, plane-sweep stereo, or random points."""
