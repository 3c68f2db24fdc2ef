"""The yardstick: the same calls as ours, made as one would make them with boto3 and requests.

It runs under awslambdaric as well, and finds its libraries installed as pip installs them, compiled. It has less to do:
it mints no token, knows one answer of the backend alone, and nothing that goes wrong.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

sys.path.append(os.environ["YARDSTICK_PACKAGES"])

import boto3
import requests

TABLE = os.environ["TABLE_NAME"]
URL = os.environ["TARGET_URL"]

dynamodb = boto3.client("dynamodb")
management = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["MANAGEMENT_URL"])


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    whose = event["requestContext"]["connectionId"]
    own = {"connectionId": {"S": whose}, "channel": {"S": f"$connection:{whose}"}}
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            (_, subscribe) = tell(whose, event["headers"], {"type": "OPEN", "connectionId": whose})
            ttl = {"N": str(int(time.time()) + 7800)}
            made = [
                {**own, "metadata": {"S": "{}"}, "connectedAt": {"N": str(round(time.time() * 1000))}, "ttl": ttl},
                {"connectionId": {"S": whose}, "channel": {"S": subscribe["channel"]}, "ttl": ttl},
            ]
            dynamodb.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": row}} for row in made]})
        case "MESSAGE":
            dynamodb.get_item(TableName=TABLE, Key=own, ConsistentRead=True)
            text = {"type": "TEXT", "connectionId": whose, "data": event["body"]}
            (send,) = tell(whose, None, text)
            management.post_to_connection(ConnectionId=whose, Data=send["data"].encode())
        case _:
            rows = dynamodb.query(
                TableName=TABLE,
                ConsistentRead=True,
                KeyConditionExpression="connectionId = :id",
                ExpressionAttributeValues={":id": {"S": whose}},
            )["Items"]
            keys = [{name: row[name] for name in ("connectionId", "channel")} for row in rows]
            dynamodb.batch_write_item(RequestItems={TABLE: [{"DeleteRequest": {"Key": key}} for key in keys]})
            tell(whose, None, {"type": "CLOSE", "connectionId": whose})
    return {"statusCode": 200}


def tell(whose: str, metadata: object, event: dict[str, str]) -> list[dict[str, str]]:
    answer = requests.post(URL, json={"connectionId": whose, "metadata": metadata, "events": [event]}, timeout=25)
    events: list[dict[str, str]] = answer.json()["events"]
    return events
