"""One file a method: fields, Gaussians and losses put together as Nerfstudio models."""
