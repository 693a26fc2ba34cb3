"""One video as the methods see it, whoever brought its files: a protocol, and a class for each layout."""
