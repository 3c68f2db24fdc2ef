"""Connections and their subscriptions."""

from __future__ import annotations

from cdktf import TerraformResourceLifecycle
from constructs import Construct

from slip_sockets.aws.connections import INDEX_NAME, PARTITION_KEY, SORT_KEY

from .aws import DynamodbTable, DynamodbTableAttribute, DynamodbTableGlobalSecondaryIndex
from .naming import named


class ConnectionsTable(Construct):
    """The `Connections` table: connectionId (partition key), channel (sort key); index `channel-index`; TTL on `ttl`.

    `name`, `arn` and `index_arn` are Terraform references.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, deletion_protection: bool) -> None:
        super().__init__(scope, id_)
        table = named(
            DynamodbTable(
                self,
                "Connections",
                name=name,
                billing_mode="PAY_PER_REQUEST",
                hash_key=PARTITION_KEY,
                range_key=SORT_KEY,
                attribute=[DynamodbTableAttribute(name=key, type="S") for key in (PARTITION_KEY, SORT_KEY)],
                global_secondary_index=[
                    DynamodbTableGlobalSecondaryIndex(
                        name=INDEX_NAME,
                        hash_key=SORT_KEY,
                        # A delivery reads nothing else: with `ttl` expired rows are left out, `form` says what to send.
                        projection_type="INCLUDE",
                        non_key_attributes=["ttl", "form"],
                    )
                ],
                ttl={"attribute_name": "ttl", "enabled": True},
                point_in_time_recovery={"enabled": False},  # connections live two hours; nothing is worth restoring
                deletion_protection_enabled=deletion_protection,
                lifecycle=TerraformResourceLifecycle(prevent_destroy=deletion_protection),
            ),
            "Connections",
        )
        self.name: str = table.name
        self.arn: str = table.arn
        self.index_arn = f"{table.arn}/index/{INDEX_NAME}"
