"""Whether a command line that a page shows can be typed as it stands."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import typer

from slip_sockets.cli.app import app

from .markdown import ROOT
from .settings import OF_DEV, OF_STACKS, without_stage

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {name for names in re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE) for name in names.split()}
MAKE_VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) | {"URL"}
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])

OF_OTHERS = {"PATH", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
"""Variables in pages that other programs read."""

UsageError: Any = typer.BadParameter.__base__

COMMANDS: Any = typer.main.get_command(app)


def is_command(line: str) -> bool:
    """Return whether a line looks like a shell command, right or wrong."""
    return (
        re.match(r"(?:[A-Z_]+=\S* )*(?:make|slip-sockets|export|unset|pip|python3?|curl|cdktf|terraform)\b", line)
        is not None
    )


def all_options() -> set[str]:
    """Return the options of all commands of `slip-sockets`."""
    return {option for command in [COMMANDS, *_commands(COMMANDS)] for option in _options(command)}


def problem_with(line: str, *, in_text: bool = False) -> str | None:
    """Return what is wrong with a line, None if nothing is, or if there is no rule for its kind.

    In text a command may lack its arguments.
    """
    if assigned := re.match(r"(export|unset) ([A-Z_]+)\b", line):
        return _problem_with_variable(assigned[2])
    words = shlex.split(line, comments=True)
    while words and (assigned := re.match(r"([A-Z_]+)=", words[0])):
        if problem := _problem_with_variable(assigned[1]):
            return problem
        words.pop(0)
    match words:
        case ["make", *rest]:
            return None if in_text and not rest else _problem_with_make(rest)
        case ["slip-sockets", *rest]:
            return _problem_with_slip_sockets(rest, in_text=in_text)
        case ["pip", "install", *packages]:
            return _problem_with_packages(packages)
        case ["python", "-m", "pytest", *arguments]:
            missing = [word for word in arguments if "/" in word and not (ROOT / word).exists()]
            return f"there is no {missing[0]}" if missing else None
        case ["python", "-m", module, *_] if module.startswith("bench"):
            path = ROOT / module.replace(".", "/")
            return (
                None
                if (path / "__main__.py").exists() or path.with_suffix(".py").exists()
                else f"there is no module {module}"
            )
    return None


def _problem_with_variable(name: str) -> str | None:
    known = OF_STACKS | OF_DEV | OF_OTHERS
    return None if without_stage(name) in known else f"{name} is not a setting"


def _problem_with_make(words: list[str]) -> str | None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable and name not in MAKE_VARIABLES:
            return f"the Makefile has no variable {name}"
        if not is_variable and word not in TARGETS:
            return f"the Makefile has no target {word}"
    return None if words else "make without a target"


def _problem_with_packages(packages: list[str]) -> str | None:
    for package in packages:
        name, _, extras = package.removesuffix("]").partition("[")
        unknown = set(filter(None, extras.split(","))) - EXTRAS
        if name == "slip-sockets":
            return "slip-sockets is not on an index: it is path/to/slip-sockets"
        if name == "path/to/slip-sockets" and unknown:
            return f"slip-sockets has no extra {', '.join(sorted(unknown))}"
    return None


def _problem_with_slip_sockets(words: list[str], *, in_text: bool) -> str | None:
    command, name = COMMANDS, "slip-sockets"
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no command {name}"
        command = command.commands[name]
    if in_text or hasattr(command, "commands"):
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        unknown = [option for option in options if option not in _options(command)]
        return f"{name} has no option {unknown[0]}" if unknown else None
    try:
        command.make_context(name, words)
    except UsageError as error:
        return f"{name}: {error}"
    except typer.Exit:  # --help
        pass
    return None


def _commands(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from _commands(command)


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
