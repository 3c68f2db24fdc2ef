"""Functions that are killed at each of their calls."""
