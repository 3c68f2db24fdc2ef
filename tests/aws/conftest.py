from __future__ import annotations

from .http_stub import stub
from .moto_server import dynamodb, moto_url, queue_url, sqs, table_name

__all__ = ["dynamodb", "moto_url", "queue_url", "sqs", "stub", "table_name"]
