"""The command of a suite of cases that return figures: `bench.fan_out` and `bench.functions`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from .errors import BenchError
from .figures import Figure, figures_table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    SizesT = TypeVar("SizesT", bound=DataclassInstance)
else:
    SizesT = TypeVar("SizesT")


@dataclass(frozen=True, slots=True)
class Suite(Generic[SizesT]):
    """Each size that is a number is an option; `quick` has the sizes of `--quick`."""

    program: str
    description: str
    cases: Mapping[str, Callable[[SizesT], list[Figure]]]
    sizes: SizesT
    quick: SizesT

    def run(self, arguments: Sequence[str] | None = None) -> None:
        """Run all cases, or those named, and print their figures. Exits with a message where one fails."""
        parser = self._parser()
        options = parser.parse_args(arguments)
        for name in options.cases:
            if name not in self.cases:
                parser.error(f"there is no case {name!r}, only {', '.join(self.cases)}")
        given = {name: value for name in self._numbers() if (value := getattr(options, name)) is not None}
        sizes = dataclasses.replace(self.quick if options.quick else self.sizes, **given)
        report(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
        results: dict[str, list[Figure]] = {}
        for name in options.cases or self.cases:
            began = time.monotonic()
            try:
                results[name] = self.cases[name](sizes)
            except BenchError as error:
                sys.exit(f"{self.program}: {name}: {error}")
            report(f"  {name}: {time.monotonic() - began:.0f} s")
        print(msgspec.json.encode(results).decode() if options.json else figures_table(results))

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=self.program, description=self.description)
        parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(self.cases)}")
        parser.add_argument("--quick", action="store_true", help="small sizes: a look, not a measurement")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        for name, value in self._numbers().items():
            parser.add_argument(
                "--" + name.replace("_", "-"),
                type=type(value),
                metavar="N",
                help=f"({value}; quick: {getattr(self.quick, name)})",
            )
        return parser

    def _numbers(self) -> dict[str, int | float]:
        sizes = {field.name: getattr(self.sizes, field.name) for field in dataclasses.fields(self.sizes)}
        return {name: value for name, value in sizes.items() if isinstance(value, int | float)}


def report(line: str) -> None:
    """Print progress beside the table, which goes to standard output."""
    print(line, file=sys.stderr, flush=True)
