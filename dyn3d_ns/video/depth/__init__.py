"""Depth of a clip: triangulated between known cameras, read from files, or from a network."""
