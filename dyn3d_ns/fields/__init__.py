"""Functions of (position, time): rigid bases, velocity fields, keyframe motions and their integration."""
