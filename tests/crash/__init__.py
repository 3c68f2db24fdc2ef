"""Functions killed at each of their calls."""
