"""Files of Gaussians that others write, one module a format."""
