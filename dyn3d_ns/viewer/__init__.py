"""What the stock Nerfstudio viewer lacks for scenes that move."""
