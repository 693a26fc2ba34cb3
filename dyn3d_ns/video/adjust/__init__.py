"""Joint adjustment of cameras, points and depth: the energies of DynamicVerse and Uni4D."""
