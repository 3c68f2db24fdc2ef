"""The tables: `Connections` with its index, and `Channels`."""

from __future__ import annotations

import pytest

from slip_sockets.aws import channels, connections

from .synthesis import PRODUCTION, STAGING, Stack, Synthesis

KEYS = {"Connections": ("connectionId", "channel"), "Channels": ("channel", "key")}
TABLES = list(KEYS)


def test_a_stack_has_these_tables(stack: Stack) -> None:
    assert sorted(stack.config["resource"]["aws_dynamodb_table"]) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_keys_are_texts(stack: Stack, name: str) -> None:
    table = stack.resource("dynamodb_table", name)
    partition_key, sort_key = KEYS[name]
    assert (table["hash_key"], table["range_key"]) == (partition_key, sort_key)
    assert table["attribute"] == [{"name": partition_key, "type": "S"}, {"name": sort_key, "type": "S"}]


def test_keys_are_those_that_the_functions_use() -> None:
    assert KEYS == {
        "Connections": (connections.PARTITION_KEY, connections.SORT_KEY),
        "Channels": (channels.PARTITION_KEY, channels.SORT_KEY),
    }


def test_index_of_connections_has_a_channels_subscribers_their_form_and_when_they_expire(stack: Stack) -> None:
    assert stack.resource("dynamodb_table", "Connections")["global_secondary_index"] == [
        {
            "name": "channel-index",
            "hash_key": "channel",
            "projection_type": "INCLUDE",
            "non_key_attributes": ["ttl", "form"],
        }
    ]


def test_channels_have_no_index(stack: Stack) -> None:
    """Each row costs one write: claims and marks are read by their keys."""
    table = stack.resource("dynamodb_table", "Channels")
    assert not {"global_secondary_index", "local_secondary_index"} & table.keys()


@pytest.mark.parametrize("name", TABLES)
def test_rows_expire(stack: Stack, name: str) -> None:
    assert stack.resource("dynamodb_table", name)["ttl"] == {"attribute_name": "ttl", "enabled": True}


@pytest.mark.parametrize("name", TABLES)
def test_it_costs_what_is_used_and_nothing_for_backups(stack: Stack, name: str) -> None:
    table = stack.resource("dynamodb_table", name)
    assert table["billing_mode"] == "PAY_PER_REQUEST"
    assert table["point_in_time_recovery"] == {"enabled": False}


@pytest.mark.parametrize("name", TABLES)
def test_each_stage_has_its_own_and_productions_is_protected(defaults: Synthesis, name: str) -> None:
    staging, production = (defaults.stack(stack).resource("dynamodb_table", name) for stack in (STAGING, PRODUCTION))
    assert (staging["name"], production["name"]) == (f"slip-sockets-staging-{name}", f"slip-sockets-{name}")
    assert (staging["deletion_protection_enabled"], production["deletion_protection_enabled"]) == (False, True)
    assert (staging["lifecycle"], production["lifecycle"]) == ({"prevent_destroy": False}, {"prevent_destroy": True})
