"""Publishes by the deployed functions, in processes of their own."""
