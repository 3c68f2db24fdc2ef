"""Regions: those that are accepted work by what botocore knows, the others are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.session import Session

from slip_sockets.aws.client import endpoint_url
from slip_sockets.protocol.errors import InvalidSettings
from stacks.regions import ARM64_REGIONS, REGIONS, profile_region, region_problem
from stacks.settings import read_settings

from .synthesis import REQUIRED

CALLED = ("dynamodb", "sqs", "ssm", "secretsmanager")
"""The services that functions call by a region's host names."""

CONFIG = """
[default]
region = eu-west-1
s3 =
    max_concurrent_requests = 20

[profile work]
sso_session = ours
region = eu-central-1

[profile "two words"]
region = eu-north-1

[profile empty]
output = json

[profile china]
region = cn-north-1
"""


def test_accepted_regions_are_those_that_botocore_knows_in_this_partition() -> None:
    known = set(Session().get_available_regions("lambda", partition_name="aws"))
    assert known == REGIONS
    assert known > ARM64_REGIONS


@pytest.mark.parametrize("service", CALLED)
def test_the_functions_call_the_hosts_that_botocore_calls(service: Any) -> None:
    session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x")
    hosts = {region: session.client(service, region_name=region).meta.endpoint_url for region in sorted(REGIONS)}
    assert hosts == {region: endpoint_url(service, region, {}) for region in hosts}


def test_hosts_of_apis_end_in_what_this_partition_has() -> None:
    """The management URL is Terraform's, of API Gateway's own endpoint: a host that botocore also knows."""
    session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x")
    for region in sorted(REGIONS):
        url = session.client("apigatewaymanagementapi", region_name=region).meta.endpoint_url
        assert url == f"https://execute-api.{region}.amazonaws.com"


def test_all_regions_of_other_partitions_are_refused_by_name() -> None:
    session = Session()
    others = [partition for partition in session.get_available_partitions() if partition != "aws"]
    regions = [region for each in others for region in session.get_available_regions("lambda", partition_name=each)]
    assert {"cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1"} <= set(regions)
    for region in [*regions, "eusc-de-east-1", "eu-isoe-west-1", "us-isof-south-1"]:
        assert " is not supported: " in (region_problem(region) or ""), region


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        (
            "cn-north-1",
            "AWS_REGION is 'cn-north-1'. AWS China is not supported: event source mappings cannot have tags there, and "
            "every stack tags them. Set it to a region of the other AWS, e.g. eu-central-1",
        ),
        (
            "us-gov-west-1",
            "AWS_REGION is 'us-gov-west-1'. AWS GovCloud is not supported: event source mappings cannot have tags "
            "there, so no plan is empty. Set it to a region of the other AWS, e.g. eu-central-1",
        ),
        (
            "eusc-de-east-1",
            "AWS_REGION is 'eusc-de-east-1'. The European Sovereign Cloud is not supported: the functions call hosts "
            "in amazonaws.com. Set it to a region of the other AWS, e.g. eu-central-1",
        ),
        ("europe", "AWS_REGION is 'europe'. Set it to an AWS region, e.g. eu-central-1"),
        ("aws-global", "AWS_REGION is 'aws-global'. Set it to an AWS region, e.g. eu-central-1"),
    ],
)
def test_a_region_that_cannot_work_is_refused_in_one_line(region: str, problem: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        read_settings(REQUIRED | {"AWS_REGION": region})
    assert error.value.problems == [problem]


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        (
            {"AWS_REGION": "eu-west-9"},
            ["eu-west-9 is not among the regions that this version knows. Check its name, or take one of them"],
        ),
        (
            {"AWS_REGION": "ca-west-1"},
            [
                "it is not known whether Lambda has arm64 in ca-west-1. "
                "If the deploy fails, set LAMBDA_ARCHITECTURE=x86_64"
            ],
        ),
        ({"AWS_REGION": "ca-west-1", "LAMBDA_ARCHITECTURE": "x86_64"}, []),
        ({"AWS_REGION": "eu-central-1"}, []),
    ],
)
def test_what_is_not_known_about_a_region_is_a_warning(settings: dict[str, str], warnings: list[str]) -> None:
    assert read_settings(REQUIRED | settings)[1] == warnings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose user has profiles."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    (tmp_path / ".aws" / "credentials").write_text("[keys]\nregion = us-west-2\n")
    return {"HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("environ", "region", "source"),
    [
        ({}, "eu-west-1", "the region of the profile 'default'"),
        ({"AWS_PROFILE": "work"}, "eu-central-1", "the region of the profile 'work'"),
        ({"AWS_DEFAULT_PROFILE": "work"}, "eu-central-1", "the region of the profile 'work'"),
        ({"AWS_PROFILE": "two words"}, "eu-north-1", "the region of the profile 'two words'"),
        ({"AWS_PROFILE": "keys"}, "us-west-2", "the region of the profile 'keys'"),
        ({"AWS_PROFILE": "empty"}, "us-east-1", "the default: neither AWS_REGION nor the profile has a region"),
        ({"AWS_PROFILE": "missing"}, "us-east-1", "the default: neither AWS_REGION nor the profile has a region"),
        ({"AWS_PROFILE": "work", "AWS_DEFAULT_REGION": "sa-east-1"}, "sa-east-1", "AWS_DEFAULT_REGION"),
        ({"AWS_PROFILE": "work", "AWS_REGION": "us-east-2"}, "us-east-2", "AWS_REGION"),
    ],
)
def test_the_profiles_own_region_is_honoured(
    home: dict[str, str], environ: dict[str, str], region: str, source: str
) -> None:
    (staging, _), _ = read_settings(REQUIRED | home | environ)
    assert (staging.region, staging.region_source) == (region, source)


def test_a_profiles_region_that_cannot_work_is_refused(home: dict[str, str]) -> None:
    with pytest.raises(
        InvalidSettings, match=r"^the region of the profile 'china' is 'cn-north-1'\. AWS China is not "
    ):
        read_settings(REQUIRED | home | {"AWS_PROFILE": "china"})


def test_other_files_may_hold_the_profiles(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("[default]\nregion = eu-south-2\n")
    assert profile_region(home | {"AWS_CONFIG_FILE": str(tmp_path / "elsewhere")}) == "eu-south-2"
    assert profile_region(home | {"AWS_CONFIG_FILE": "~/elsewhere"}) == "eu-south-2"
    (tmp_path / "elsewhere").write_text("not a configuration file")
    assert profile_region(home | {"AWS_CONFIG_FILE": str(tmp_path / "elsewhere")}) is None
