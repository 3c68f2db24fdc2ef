"""Access logs of an API, where ACCESS_LOGS turns them on."""

from __future__ import annotations

import json
from collections.abc import Sequence

from constructs import Construct

from .aws import CloudwatchLogGroup
from .naming import named


def access_logs(
    scope: Construct, address: str, *, stack_name: str, fields: Sequence[str], retention_days: int | None
) -> dict[str, str] | None:
    """Return a stage's `access_log_settings`: for each request a JSON object of `fields`, to a log group of their own.

    Return None where access logs are off: `retention_days` is None. A WebSocket API writes them with the role of the
    account's API Gateway settings, which must have been set once.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-logging.html
    """
    if retention_days is None:
        return None
    # An HTTP API's group of another name is entered into the account's resource policy, which may be full.
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
    name = f"/aws/vendedlogs/apigateway/{stack_name}-{address}"
    group = CloudwatchLogGroup(scope, "access_logs", name=name, retention_in_days=retention_days)
    named(group, f"{address}_access")
    return {"destination_arn": group.arn, "format": json.dumps({field: f"$context.{field}" for field in fields})}
