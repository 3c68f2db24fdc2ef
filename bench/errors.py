"""Why a run does not count."""


class BenchError(Exception):
    """A program did not start, or a server misbehaved, so that the numbers mean nothing."""
