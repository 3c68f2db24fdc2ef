"""How fan-out scales: the deployed code, against a stub of API Gateway's management API."""
