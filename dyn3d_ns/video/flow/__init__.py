"""Stage `flow`: dense motion between frames."""
