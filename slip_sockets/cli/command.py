"""A command that refuses values which no option can have, before it does anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

from ..protocol.errors import InvalidSettings


class Command(TyperCommand):
    """Raises InvalidSettings for bytes that are not UTF-8, which Python passes on as lone surrogates, and for NaN.

    A path may have such bytes: file names may.
    """

    def invoke(self, ctx: Any) -> Any:
        problems = [problem for parameter in self.params for problem in _problems(ctx, parameter)]
        if problems:
            raise InvalidSettings(problems)
        return super().invoke(ctx)


def _problems(ctx: Any, parameter: Any) -> Iterator[str]:
    given = ctx.params.get(parameter.name)
    for value in given if isinstance(given, list | tuple) else [given]:
        if isinstance(value, str) and not _is_utf8(value):
            is_variable = ctx.get_parameter_source(parameter.name).name == "ENVIRONMENT"
            name = parameter.envvar if is_variable else parameter.metavar or max(parameter.opts, key=len)
            how = "Set it to text" if is_variable else "Give it as text"
            yield f"{name} is not UTF-8. {how}"
        elif isinstance(value, float) and math.isnan(value):
            yield f"{max(parameter.opts, key=len)} is not a number"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
