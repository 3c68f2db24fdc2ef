"""The development server: the gateway with its ports in memory, behind an API Gateway edge for a laptop."""
