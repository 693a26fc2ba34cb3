"""Pure functions of poses, rotations and alignment."""
