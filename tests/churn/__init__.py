"""Churn: many sockets that connect, subscribe, send and leave in every way; a model accounts for each message."""
