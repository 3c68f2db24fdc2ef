"""Which outputs file is read, and which of its stacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slip_sockets.cli.deployment import complete_stack, find_control_api, find_deployment
from slip_sockets.protocol.errors import InvalidSettings

DEPLOYED, DEV = Path("cdk-outputs.json"), Path("cdk-outputs.dev.json")
BOTH = "both cdk-outputs.json and cdk-outputs.dev.json are here. Choose with --outputs cdk-outputs.json or --dev"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, *stacks: str) -> None:
    path.write_text(json.dumps({stack: {"controlApi": f"http://{stack}.{path.stem}/"} for stack in stacks}))


def found(stack: str = "", path: Path | None = None, *, dev: bool = False) -> tuple[Path, str]:
    deployment = find_deployment(stack, path, dev=dev)
    assert deployment.outputs.control_api == f"http://{deployment.stack}.{deployment.path.stem}/"
    return deployment.path, deployment.stack


def problem(stack: str = "", path: Path | None = None, *, dev: bool = False) -> str:
    with pytest.raises(InvalidSettings) as error:
        find_deployment(stack, path, dev=dev)
    return str(error.value)


@pytest.mark.parametrize("path", [DEPLOYED, DEV])
def test_the_only_file_that_is_here_is_taken(path: Path) -> None:
    write(path, "slip-sockets", "slip-sockets-staging")
    assert found() == (path, "slip-sockets")
    assert found("slip-sockets-staging") == (path, "slip-sockets-staging")


def test_the_only_stack_of_a_file_needs_no_name() -> None:
    write(DEPLOYED, "chat-staging")
    assert found() == (DEPLOYED, "chat-staging")


def test_several_stacks_of_other_names_need_one() -> None:
    write(DEPLOYED, "b", "a")
    assert problem() == "cdk-outputs.json has no stack 'slip-sockets'. It has: a, b"


def test_no_file_says_how_to_get_one() -> None:
    assert problem() == (
        "there is neither cdk-outputs.json nor cdk-outputs.dev.json here. Start `slip-sockets dev` or deploy, "
        "go to the folder where you did, or name the file with --outputs"
    )


def test_of_two_files_the_one_that_has_the_stack_is_taken() -> None:
    write(DEPLOYED, "slip-sockets", "slip-sockets-staging")
    write(DEV, "slip-sockets")
    assert found("slip-sockets-staging") == (DEPLOYED, "slip-sockets-staging")
    assert problem("nobody") == "cdk-outputs.json has no stack 'nobody'. It has: slip-sockets, slip-sockets-staging"


def test_production_is_never_chosen_by_chance() -> None:
    write(DEPLOYED, "slip-sockets")
    write(DEV, "slip-sockets")
    assert problem() == BOTH
    assert problem("slip-sockets") == BOTH
    assert found(dev=True) == (DEV, "slip-sockets")
    assert found(path=DEPLOYED) == (DEPLOYED, "slip-sockets")


def test_two_options_for_the_same_thing_are_refused() -> None:
    assert problem(path=DEPLOYED, dev=True) == "--dev and --outputs both name an outputs file. Give one of them"
    with pytest.raises(InvalidSettings) as error:
        find_control_api("http://x/", "", DEPLOYED, dev=False)
    assert str(error.value) == "--control-api replaces an outputs file. Give one of them"


def test_a_stack_without_a_control_api_is_one_line() -> None:
    DEPLOYED.write_text('{"slip-sockets": {"region": "eu-west-1"}}')
    with pytest.raises(InvalidSettings) as error:
        find_control_api("", "", None, dev=False)
    assert str(error.value) == "cdk-outputs.json has no controlApi of 'slip-sockets'. Give it with --control-api"


def test_the_shell_completes_stacks_of_both_files() -> None:
    assert complete_stack("") == []
    write(DEPLOYED, "slip-sockets", "slip-sockets-staging")
    write(DEV, "mine")
    assert complete_stack("") == ["mine", "slip-sockets", "slip-sockets-staging"]
    assert complete_stack("slip") == ["slip-sockets", "slip-sockets-staging"]
    DEPLOYED.write_text("{")
    assert complete_stack("") == ["mine"]
