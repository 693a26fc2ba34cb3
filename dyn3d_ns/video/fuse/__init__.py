"""Depth, masks, cameras and tracks as one set of points over time."""
