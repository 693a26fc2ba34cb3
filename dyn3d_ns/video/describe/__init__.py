"""What moves, in words: from a vision-language server, or from the measured motion."""
