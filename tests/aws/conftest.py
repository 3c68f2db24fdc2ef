from __future__ import annotations

from .http_stub import stub
from .moto_server import channels_table, connections_table, dynamodb, moto_url, queue_url, sqs

__all__ = ["channels_table", "connections_table", "dynamodb", "moto_url", "queue_url", "sqs", "stub"]
