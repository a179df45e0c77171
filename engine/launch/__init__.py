"""Several processes of one training: their start, their output, and their common end."""
