from __future__ import annotations

import json
from pathlib import Path

from .conftest import Cli, refused

PRODUCTION = {
    "controlApi": "https://c.example",
    "targetUrl": "https://app.example/slip",
    "websocketUrl": "wss://w.example/live",
    "region": "eu-west-1",
}
STAGING = PRODUCTION | {"controlApi": "https://s.example"}


def test_all_stacks_of_all_files_are_shown(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cdk-outputs.json").write_text(json.dumps({"slip-sockets": PRODUCTION, "staging": STAGING}))
    (tmp_path / "cdk-outputs.dev.json").write_text('{"mine": {"controlApi": "http://127.0.0.1:8787/control"}}')
    result = cli("outputs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == """\
slip-sockets  (cdk-outputs.json)
  controlApi    https://c.example
  websocketUrl  wss://w.example/live
  targetUrl     https://app.example/slip
  region        eu-west-1
staging  (cdk-outputs.json)
  controlApi    https://s.example
  websocketUrl  wss://w.example/live
  targetUrl     https://app.example/slip
  region        eu-west-1
mine  (cdk-outputs.dev.json)
  controlApi    http://127.0.0.1:8787/control
  websocketUrl  -
  targetUrl     -
  region        -
"""
    )
    one = cli("outputs", "--stack", "staging", "--json")
    assert json.loads(one.stdout) == {"cdk-outputs.json": {"staging": STAGING}}
    assert set(json.loads(cli("outputs", "--dev", "--json").stdout)) == {"cdk-outputs.dev.json"}


def test_get_prints_one_value_for_a_script(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"slip-sockets": PRODUCTION, "staging": STAGING}))
    assert cli("outputs", "--outputs", "mine.json", "--get", "controlApi").stdout == "https://c.example\n"
    staging = ("outputs", "--outputs", "mine.json", "--stack", "staging", "--get", "controlApi")
    assert cli(*staging).stdout == "https://s.example\n"
    assert json.loads(cli(*staging, "--json").stdout) == "https://s.example"
    assert cli("outputs", "--outputs", "mine.json", "--get", "region", STACK_NAME="staging").stdout == "eu-west-1\n"


def test_grip_url_is_shown_where_there_is_one(cli: Cli, tmp_path: Path) -> None:
    url = "https://c.example?iss=slip-sockets&verify-iss=slip-sockets-gateway"
    (tmp_path / "cdk-outputs.json").write_text(json.dumps({"slip-sockets": PRODUCTION | {"gripUrl": url}}))
    assert cli("outputs").stdout.endswith(f"  region        eu-west-1\n  gripUrl       {url}\n")
    assert cli("outputs", "--get", "gripUrl").stdout == f"{url}\n"
    (tmp_path / "cdk-outputs.json").write_text(json.dumps({"slip-sockets": PRODUCTION}))
    refused(cli("outputs", "--get", "gripUrl"), "cdk-outputs.json has no gripUrl of 'slip-sockets'")


def test_a_missing_value_is_one_line(cli: Cli, tmp_path: Path) -> None:
    here = tmp_path / "cdk-outputs.json"
    here.write_text('{"slip-sockets": {}}')
    refused(cli("outputs", "--get", "region"), "cdk-outputs.json has no region of 'slip-sockets'")
    here.write_bytes(b"\xff")
    result = cli("outputs")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("slip-sockets: cdk-outputs.json is not an outputs file: ")
    here.write_text('{"slip-sockets": {"region": 1}}')
    refused(
        cli("outputs"),
        "cdk-outputs.json is not an outputs file: its JSON has another shape: Expected `str`, got `int` - at "
        "`$[...].region`. Deploy first, or start `slip-sockets dev`",
    )
    assert cli("outputs", "--get", "nonsense").exit_code == 2
