"""Publishes by several functions at once: as deployed, in processes of their own, or in simulated time."""
