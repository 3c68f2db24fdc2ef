"""The regions to which a stack may be deployed, and the one that the settings name."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path

DEFAULT_REGION = "us-east-1"

_WITH_ARM64 = """
af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2
ap-southeast-3 ap-southeast-4 ca-central-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1
eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2
"""
"""https://aws.amazon.com/about-aws/whats-new/2021/09/better-price-performance-aws-lambda-functions-aws-graviton2-processor/
https://aws.amazon.com/about-aws/whats-new/2022/10/aws-lambda-functions-graviton2-12-regions/
https://aws.amazon.com/about-aws/whats-new/2023/08/aws-lambda-functions-graviton2-6-regions/"""
ARM64_REGIONS = frozenset(_WITH_ARM64.split())
REGIONS = ARM64_REGIONS | {
    "ap-east-2",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "mx-central-1",
}
"""The regions of the partition `aws`. A test compares them with botocore's."""

_OF_AWS = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]{1,20}-[0-9]{1,2}")
"""botocore's own expression for regions of this partition, those of the future included, of a length that one has."""
MAX_FILE_CHARACTERS = 1_000_000
"""More than a file of profiles ever has; a device has no end."""
_OTHER_PARTITIONS = (
    (re.compile(r"cn-\w+-\d+"), "AWS China", "event source mappings cannot have tags there, and every stack tags them"),
    (
        re.compile(r"us-gov-\w+-\d+"),
        "AWS GovCloud",
        "event source mappings cannot have tags there, so no plan is empty",
    ),
    (re.compile(r"eusc-de-\w+-\d+"), "The European Sovereign Cloud", "the functions call hosts in amazonaws.com"),
    (
        re.compile(r"(us-iso[bf]?|eu-isoe)-\w+-\d+"),
        "An isolated partition",
        "the functions call hosts in amazonaws.com",
    ),
)
"""Tags: https://github.com/hashicorp/terraform-provider-aws/issues/40755,
https://docs.amazonaws.cn/en_us/aws/latest/userguide/lambda.html"""


def region_problem(region: str) -> str | None:
    """Return why a stack cannot be deployed to `region`, with what to do; None if it can be, or may be."""
    for pattern, partition, reason in _OTHER_PARTITIONS:
        if pattern.fullmatch(region):
            return f"{partition} is not supported: {reason}. Set it to a region of the other AWS, e.g. eu-central-1"
    return None if _OF_AWS.fullmatch(region) else "Set it to an AWS region, e.g. eu-central-1"


def region_warning(region: str, architecture: str) -> str | None:
    """Return what is not known about a region that is accepted; None if all is."""
    if region not in REGIONS:
        return f"{region} is not among the regions that this version knows. Check its name, or take one of them"
    if architecture == "arm64" and region not in ARM64_REGIONS:
        return (
            f"it is not known whether Lambda has arm64 in {region}. If the deploy fails, set LAMBDA_ARCHITECTURE=x86_64"
        )
    return None


def profile_name(environ: Mapping[str, str]) -> str:
    """Return the name of the profile that botocore uses, which looks at the older variable first."""
    return environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or "default"


def profile_region(environ: Mapping[str, str]) -> str | None:
    """Return the region of the profile; None where it has none. As for AWS's own tools, the credentials file wins."""
    profile = profile_name(environ)
    home = environ.get("HOME") or environ.get("USERPROFILE")
    files = (
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile),
        ("AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"),
    )
    for variable, name, section in files:
        path = environ.get(variable) or (home and str(Path(home, ".aws", name)))
        region = _option(Path(path.replace("~", home or "~", 1)), section, "region") if path else None
        if region:
            return region
    return None


def _option(path: Path, section: str, option: str) -> str | None:
    """Return an option of a file; None where it has none. A bad file is reported by what reads credentials."""
    parser = configparser.RawConfigParser(default_section="")
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_string(file.read(MAX_FILE_CHARACTERS))
    except (configparser.Error, OSError, ValueError):
        return None
    # `aws configure` writes a name with blanks in quotes.
    for name in (section, re.sub(r"^profile (.*)$", r'profile "\1"', section)):
        if parser.has_option(name, option):
            return parser.get(name, option).strip()
    return None
