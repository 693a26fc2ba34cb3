"""The folder of a processed clip: its paths, what is in it, one reader and one writer."""
