from __future__ import annotations

from .synthesis import PRODUCTION, STAGING, Stack, Synthesis


def test_keys_are_connection_and_channel(stack: Stack) -> None:
    table = stack.resource("dynamodb_table", "Connections")
    assert (table["hash_key"], table["range_key"]) == ("connectionId", "channel")
    assert table["attribute"] == [{"name": "connectionId", "type": "S"}, {"name": "channel", "type": "S"}]


def test_index_finds_a_channels_connections_and_when_they_expire(stack: Stack) -> None:
    assert stack.resource("dynamodb_table", "Connections")["global_secondary_index"] == [
        {
            "name": "channel-index",
            "hash_key": "channel",
            "projection_type": "INCLUDE",
            "non_key_attributes": ["ttl"],
        }
    ]


def test_rows_expire(stack: Stack) -> None:
    assert stack.resource("dynamodb_table", "Connections")["ttl"] == {"attribute_name": "ttl", "enabled": True}


def test_it_costs_what_is_used(stack: Stack) -> None:
    assert stack.resource("dynamodb_table", "Connections")["billing_mode"] == "PAY_PER_REQUEST"


def test_each_stage_has_its_own_and_productions_is_protected(defaults: Synthesis) -> None:
    staging, production = (
        defaults.stack(name).resource("dynamodb_table", "Connections") for name in (STAGING, PRODUCTION)
    )
    assert (staging["name"], production["name"]) == ("slip-sockets-staging-Connections", "slip-sockets-Connections")
    assert (staging["deletion_protection_enabled"], production["deletion_protection_enabled"]) == (False, True)
