"""What channels remember: claimed message ids, marks, last ids, kept messages, members, checkpoints."""

from __future__ import annotations

from cdktf import TerraformResourceLifecycle
from constructs import Construct

from slip_sockets.aws.channels import PARTITION_KEY, SORT_KEY

from .aws import DynamodbTable, DynamodbTableAttribute
from .naming import named


class ChannelsTable(Construct):
    """The `Channels` table: channel (partition key), key (sort key); TTL on `ttl`.

    `name` and `arn` are Terraform references.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, deletion_protection: bool) -> None:
        super().__init__(scope, id_)
        table = named(
            DynamodbTable(
                self,
                "Channels",
                name=name,
                billing_mode="PAY_PER_REQUEST",
                hash_key=PARTITION_KEY,
                range_key=SORT_KEY,
                attribute=[DynamodbTableAttribute(name=key, type="S") for key in (PARTITION_KEY, SORT_KEY)],
                ttl={"attribute_name": "ttl", "enabled": True},
                point_in_time_recovery={
                    "enabled": False
                },  # a checkpoint lives longest, 15 days; nothing is worth restoring
                deletion_protection_enabled=deletion_protection,
                lifecycle=TerraformResourceLifecycle(prevent_destroy=deletion_protection),
            ),
            "Channels",
        )
        self.name: str = table.name
        self.arn: str = table.arn
