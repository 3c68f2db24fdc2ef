"""The yardstick: the same calls as ours, made as one would make them with boto3 and requests.

It runs under awslambdaric as well, and its libraries are installed as pip installs them, compiled. It has less to do:
it signs no token, knows only one reply of the backend, and handles no failure.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

sys.path.append(os.environ["YARDSTICK_PACKAGES"])

import boto3
import requests

TABLE = os.environ["CONNECTIONS_TABLE"]
URL = os.environ["TARGET_URL"]

dynamodb = boto3.client("dynamodb")
management = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["MANAGEMENT_URL"])


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    id_ = event["requestContext"]["connectionId"]
    own = {"connectionId": {"S": id_}, "channel": {"S": f"$connection:{id_}"}}
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            _, subscribe = call(id_, event["headers"], {"type": "OPEN", "connectionId": id_})
            ttl = {"N": str(int(time.time()) + 7800)}
            made = [
                {**own, "metadata": {"S": "{}"}, "connectedAt": {"N": str(round(time.time() * 1000))}, "ttl": ttl},
                {"connectionId": {"S": id_}, "channel": {"S": subscribe["channel"]}, "ttl": ttl},
            ]
            dynamodb.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": row}} for row in made]})
        case "MESSAGE":
            dynamodb.get_item(TableName=TABLE, Key=own, ConsistentRead=True)
            text = {"type": "TEXT", "connectionId": id_, "data": event["body"]}
            (send,) = call(id_, None, text)
            management.post_to_connection(ConnectionId=id_, Data=send["data"].encode())
        case _:
            rows = dynamodb.query(
                TableName=TABLE,
                ConsistentRead=True,
                KeyConditionExpression="connectionId = :id",
                ExpressionAttributeValues={":id": {"S": id_}},
            )["Items"]
            keys = [{name: row[name] for name in ("connectionId", "channel")} for row in rows]
            dynamodb.batch_write_item(RequestItems={TABLE: [{"DeleteRequest": {"Key": key}} for key in keys]})
            call(id_, None, {"type": "CLOSE", "connectionId": id_})
    return {"statusCode": 200}


def call(id_: str, metadata: object, event: dict[str, str]) -> list[dict[str, str]]:
    response = requests.post(URL, json={"connectionId": id_, "metadata": metadata, "events": [event]}, timeout=25)
    events: list[dict[str, str]] = response.json()["events"]
    return events
