"""`dyn3d-velocity-planes`: keyframe planes carried by a velocity field."""
