"""Calls that DynamoDB refuses.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

from __future__ import annotations

import re
from typing import Any

from moto.backends import get_backend

from ..api_request import ApiRequest
from .refused import Refused

MAX_WRITES = 25
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""
MAX_PARTITION_KEY_BYTES = 2048
MAX_SORT_KEY_BYTES = 1024

_INVALID = "One or more parameter values were invalid: "
_PLACEHOLDER = re.compile(r"[#:]\w+")


def check_dynamodb(request: ApiRequest, account_id: str) -> None:
    parameters = request.parameters
    if request.operation == "BatchWriteItem":
        if sum(map(len, (parameters.get("RequestItems") or {}).values())) > MAX_WRITES:
            raise Refused("ValidationException", "Too many items requested for the BatchWriteItem call")
        return
    _check_values_are_used(parameters)
    table = get_backend("dynamodb")[account_id][request.region].tables.get(parameters.get("TableName", ""))
    if table is None:
        return
    if "Key" in parameters:
        _check_key(parameters["Key"], table.schema)
    if request.operation in ("Query", "Scan"):
        _check_read(request, table)


def _check_values_are_used(parameters: dict[str, Any]) -> None:
    """moto does so for UpdateItem alone, and for names everywhere."""
    expressions = [value for name, value in parameters.items() if name.endswith("Expression")]
    used = {placeholder for expression in expressions for placeholder in _PLACEHOLDER.findall(expression)}
    unused = [name for name in parameters.get("ExpressionAttributeValues") or {} if name not in used]
    if expressions and unused:
        keys = ", ".join(unused)
        raise Refused(
            "ValidationException",
            f"Value provided in ExpressionAttributeValues unused in expressions: keys: {{{keys}}}",
        )


def _check_key(key: dict[str, Any], schema: list[dict[str, str]]) -> None:
    """moto does so for PutItem alone."""
    for element in schema:
        name = element["AttributeName"]
        value = key.get(name, {}).get("S")
        if value == "":
            raise Refused(
                "ValidationException",
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
                f"empty string value. Key: {name}",
            )
        size = len((value or "").encode())
        if element["KeyType"] == "HASH" and size > MAX_PARTITION_KEY_BYTES:
            # AWS has no blank there.
            raise Refused(
                "ValidationException",
                f"{_INVALID}Size of hashkey has exceeded the maximum size limit of{MAX_PARTITION_KEY_BYTES} bytes",
            )
        if element["KeyType"] == "RANGE" and size > MAX_SORT_KEY_BYTES:
            raise Refused(
                "ValidationException",
                f"{_INVALID}Aggregated size of all range keys has exceeded the size limit of "
                f"{MAX_SORT_KEY_BYTES} bytes",
            )


def _check_read(request: ApiRequest, table: Any) -> None:
    parameters = request.parameters
    if parameters.get("Limit", 1) < 1:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{parameters['Limit']}' at 'limit' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        )
    indexes = {index.name: index for index in (*table.global_indexes, *table.indexes)}
    index = indexes.get(parameters.get("IndexName", ""))
    if index is None and "IndexName" in parameters:
        return  # moto refuses it
    keys = {element["AttributeName"] for element in (*table.schema, *(index.schema if index else ()))}
    start = parameters.get("ExclusiveStartKey")
    if start is not None and start.keys() != keys:
        of_table = request.operation == "Scan" and index is None
        raise Refused(
            "ValidationException",
            "The provided starting key is invalid"
            + (": The provided key element does not match the schema" if of_table else ""),
        )
    if index is not None and index in table.global_indexes and index.projection["ProjectionType"] != "ALL":
        # A local index reads what it lacks from the table.
        projected = keys | set(index.projection.get("NonKeyAttributes") or ())
        names: dict[str, str] = parameters.get("ExpressionAttributeNames") or {}
        paths = (parameters.get("ProjectionExpression") or "").split(",")
        wanted = [re.split(r"[.\[]", path.strip())[0] for path in paths if path.strip()]
        lacking = [name for name in (names.get(name, name) for name in wanted) if name not in projected]
        if lacking:
            raise Refused(
                "ValidationException",
                f"{_INVALID}Global secondary index {index.name} does not project [{', '.join(lacking)}]",
            )
