"""Published versions, aliases that lead to them, and provisioned concurrency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from local_aws import LocalAws, Strictness

from .cloud import TIMEOUT_S, Api, Cloud, Deployed, settings, zipped

SOURCE = "import os\ndef handler(event, context): return ['{}', os.environ['WORD'], context.function_version]"
ALIAS = "live"
LONG_S = 3600


@pytest.fixture
def function(cloud: Cloud) -> Deployed:
    return cloud.function(SOURCE.format("first"), environment={"WORD": "one"}, Publish=True)


@pytest.fixture
def slow() -> Iterator[Cloud]:
    """A local AWS in which aliases with provisioned concurrency move for longer than a test takes."""
    with LocalAws(replace(settings(), strictness=Strictness(alias_move_s=LONG_S))) as aws:
        yield Cloud(aws)


def publish(function: Deployed, word: str) -> str:
    """Publish a version with other code and configuration; return its number."""
    client = function.cloud.client("lambda")
    client.update_function_code(FunctionName=function.name, ZipFile=zipped(SOURCE.format(f"code of {word}")))
    client.update_function_configuration(FunctionName=function.name, Environment={"Variables": {"WORD": word}})
    return str(client.publish_version(FunctionName=function.name)["Version"])


def alias(function: Deployed, version: str = "1") -> None:
    function.cloud.client("lambda").create_alias(FunctionName=function.name, Name=ALIAS, FunctionVersion=version)


def move(function: Deployed, version: str) -> Any:
    client = function.cloud.client("lambda")
    return client.update_alias(FunctionName=function.name, Name=ALIAS, FunctionVersion=version)


def provision(function: Deployed, qualifier: str, environments: int = 1) -> Any:
    return function.cloud.client("lambda").put_provisioned_concurrency_config(
        FunctionName=function.name, Qualifier=qualifier, ProvisionedConcurrentExecutions=environments
    )


def statuses(api: Api, *paths: str) -> list[int]:
    return [requests.get(api.endpoint + path, timeout=TIMEOUT_S).status_code for path in paths]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Message"])


def test_a_version_runs_what_it_was_published_with(function: Deployed) -> None:
    assert publish(function, "two") == "2"
    assert function.call(qualifier="1") == ["first", "one", "1"]
    assert function.call(qualifier="2") == ["code of two", "two", "2"]
    assert function.call() == ["code of two", "two", "$LATEST"]


def test_an_alias_leads_to_its_version_and_moves_at_once(function: Deployed) -> None:
    alias(function)
    assert function.call(qualifier=ALIAS) == ["first", "one", "1"]
    publish(function, "two")
    assert function.call(qualifier=ALIAS) == ["first", "one", "1"]
    assert "RoutingConfig" not in {name for name, value in move(function, "2").items() if value}
    assert function.call(qualifier=ALIAS) == ["code of two", "two", "2"]


def test_processes_of_a_version_that_no_alias_leads_to_end(function: Deployed) -> None:
    alias(function)
    function.call(qualifier=ALIAS)
    aws = function.cloud.aws
    assert aws.environments(function.arn) == 1
    publish(function, "two")
    assert aws.environments(f"{function.arn}:1") == 1
    move(function, "2")
    function.call(qualifier=ALIAS)
    assert aws.environments(f"{function.arn}:2") == 1
    while aws.environments(f"{function.arn}:1"):
        function.call(qualifier=ALIAS)
    assert aws.environments(function.arn) == 1


def test_a_permission_for_an_alias_is_for_no_other_name(cloud: Cloud, function: Deployed) -> None:
    alias(function)
    api = cloud.api("HTTP")
    api.integrate(function, "GET /latest", permit=False)
    api.integrate(function, "GET /alias", permit=False, qualifier=ALIAS)
    api.stage("$default")
    function.let_invoke(f"{api.arn}/*", Qualifier=ALIAS)
    assert statuses(api, "/latest", "/alias") == [500, 200]
    function.let_invoke(f"{api.arn}/*")
    assert statuses(api, "/latest", "/alias") == [200, 200]


def test_a_permission_for_the_function_is_not_for_its_aliases(cloud: Cloud, function: Deployed) -> None:
    alias(function)
    api = cloud.api("HTTP")
    api.integrate(function, "GET /alias", permit=False, qualifier=ALIAS)
    api.stage("$default")
    function.let_invoke(f"{api.arn}/*")
    assert statuses(api, "/alias") == [500]


class TestProvisionedConcurrency:
    def test_it_is_kept_for_a_version(self, function: Deployed) -> None:
        client = function.cloud.client("lambda")
        provision(function, "1", 3)
        call = {"FunctionName": function.name, "Qualifier": "1"}
        found = client.get_provisioned_concurrency_config(**call)
        assert (found["Status"], found["RequestedProvisionedConcurrentExecutions"]) == ("READY", 3)
        (listed,) = client.list_provisioned_concurrency_configs(FunctionName=function.name)[
            "ProvisionedConcurrencyConfigs"
        ]
        assert listed["FunctionArn"] == f"{function.arn}:1"
        client.delete_provisioned_concurrency_config(**call)
        assert "No Provisioned" in refused(lambda: client.get_provisioned_concurrency_config(**call))

    def test_it_goes_with_its_function(self, function: Deployed) -> None:
        provision(function, "1")
        client = function.cloud.client("lambda")
        client.delete_function(FunctionName=function.name)
        listed = client.list_provisioned_concurrency_configs(FunctionName=function.name)
        assert listed["ProvisionedConcurrencyConfigs"] == []

    def test_what_is_not_published_has_none(self, function: Deployed) -> None:
        assert refused(lambda: provision(function, "$LATEST")).startswith("Provisioned Concurrency Configs cannot be")
        assert refused(lambda: provision(function, "7")).startswith("Function not found")

    def test_an_alias_moves_at_once_between_versions_that_have_it(self, slow: Cloud) -> None:
        function = slow.function(SOURCE.format("first"), environment={"WORD": "one"}, Publish=True)
        alias(function)
        provision(function, "1")
        provision(function, publish(function, "two"))
        move(function, "2")
        assert {function.call(qualifier=ALIAS)[2] for _ in range(5)} == {"2"}
        provision(function, "2", 4)

    def test_an_alias_that_has_it_leads_to_both_versions_while_it_moves(self, slow: Cloud) -> None:
        function = slow.function(SOURCE.format("first"), environment={"WORD": "one"}, Publish=True)
        alias(function)
        provision(function, ALIAS)
        publish(function, "two")
        publish(function, "three")
        assert move(function, "2")["RoutingConfig"]["AdditionalVersionWeights"] == {"1": 1}
        client = slow.client("lambda")
        seen = client.get_alias(FunctionName=function.name, Name=ALIAS)
        assert (seen["FunctionVersion"], seen["RoutingConfig"]["AdditionalVersionWeights"]) == ("2", {"1": 1})
        assert function.call(qualifier=ALIAS) == ["first", "one", "1"]
        weights = "Alias with weights can not be used with Provisioned Concurrency"
        assert refused(lambda: provision(function, ALIAS, 2)) == weights
        assert refused(lambda: move(function, "1")) == (
            "Function version 1 is already included in routing configuration"
        )

    def test_the_old_version_gets_less_and_less_until_the_move_ends(self) -> None:
        with LocalAws(replace(settings(), strictness=Strictness(alias_move_s=0.5))) as aws:
            function = Cloud(aws).function(SOURCE.format("first"), environment={"WORD": "one"}, Publish=True)
            alias(function)
            provision(function, ALIAS)
            publish(function, "two")
            move(function, "2")
            served: Counter[str] = Counter()
            while served["2"] < 20:
                served[function.call(qualifier=ALIAS)[2]] += 1
            assert served.keys() <= {"1", "2"}
            client = function.cloud.client("lambda")
            while client.get_alias(FunctionName=function.name, Name=ALIAS).get("RoutingConfig"):
                function.call(qualifier=ALIAS)
            provision(function, ALIAS, 2)
