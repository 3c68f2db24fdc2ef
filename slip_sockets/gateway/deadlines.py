"""How the gateway ends in time."""

RESERVE_S = 3.0
"""Kept of the caller's time for queueing the actions that are not done, and for the response."""
