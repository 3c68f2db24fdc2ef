from __future__ import annotations

from pathlib import Path

import pytest

from tools import terraform_mirror
from tools.terraform_mirror import PROVIDER, PROVIDER_VERSION, terraform_environment

MACHINE = "linux_amd64"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has only this home directory."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(terraform_mirror, "ROOTS", (home,))
    monkeypatch.setattr(terraform_mirror, "CONFIG", tmp_path / "build" / "terraform-mirror.tfrc")
    monkeypatch.setattr(terraform_mirror, "machine", lambda: MACHINE)
    return home


def mirror(folder: Path, *, version: str = PROVIDER_VERSION, machine: str = MACHINE) -> Path:
    (folder / PROVIDER / version / machine).mkdir(parents=True)
    return folder


def test_a_mirror_below_the_home_directory_is_used(home: Path) -> None:
    found = mirror(home / ".local" / "share" / "terraform" / "plugins")
    environment = terraform_environment({"TF_CLI_CONFIG_FILE": str(home / "none"), "X": "y"})
    config = Path(environment["TF_CLI_CONFIG_FILE"])
    assert f'filesystem_mirror {{\n    path = "{found}"\n' in config.read_text()
    assert environment == {
        "CHECKPOINT_DISABLE": "1",
        "X": "y",
        "TF_CLI_CONFIG_FILE": str(config),
        "CDKTF_SKIP_PROVIDER_LOCK": "true",
    }


def test_a_packed_mirror_is_used(home: Path) -> None:
    packed = home / "mirror" / PROVIDER / f"terraform-provider-aws_{PROVIDER_VERSION}_{MACHINE}.zip"
    packed.parent.mkdir(parents=True)
    packed.touch()
    assert "TF_CLI_CONFIG_FILE" in terraform_environment({})


def test_a_mirror_behind_a_link_is_used(home: Path, tmp_path: Path) -> None:
    mirror(tmp_path / "elsewhere")
    (home / "mirror").symlink_to(tmp_path / "elsewhere")
    (home / "round").symlink_to(home)
    assert "TF_CLI_CONFIG_FILE" in terraform_environment({})


@pytest.mark.parametrize(
    "make",
    [
        lambda home: None,
        lambda home: mirror(home / "a" / "b" / "c" / "d" / "e"),
        lambda home: mirror(home / "mirror", version="5.99.1"),
        lambda home: mirror(home / "mirror", machine="windows_386"),
        lambda home: mirror(home / ".terraform.d" / "plugin-cache"),
    ],
)
def test_without_a_usable_mirror_terraform_uses_its_registry(home: Path, make: object) -> None:
    assert callable(make)
    make(home)
    assert terraform_environment({"TF_CLI_CONFIG_FILE": str(home / "none")}) == {"CHECKPOINT_DISABLE": "1"}


def test_the_users_own_configuration_has_priority(home: Path) -> None:
    mirror(home / "mirror")
    own = home / "own.tfrc"
    own.touch()
    given = {"TF_CLI_CONFIG_FILE": str(own), "CHECKPOINT_DISABLE": "0"}
    assert terraform_environment(given) == given
