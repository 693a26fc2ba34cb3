"""Training: checkpoints that survive anything, exact resume, and defaults that fit the machine."""
