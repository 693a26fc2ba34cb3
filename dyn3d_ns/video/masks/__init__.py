"""What moves: residual motion against the camera's, cleaned into masks and linked into instances."""
