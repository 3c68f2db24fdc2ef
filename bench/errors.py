"""What can go wrong with a run."""


class BenchError(Exception):
    """A program did not start, or a server did what makes the numbers worthless."""
