"""Churn: many sockets that come, subscribe, talk and go in every way, and a model that accounts for each message."""
