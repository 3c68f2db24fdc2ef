"""The prices of AWS's regions: `prices.json` in this folder, or a file of the same form."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import msgspec

from ..protocol.errors import InvalidSettings
from ..protocol.json_files import NotSuchAFile, read_json_file

PRICES_FILE = Path(__file__).with_name("prices.json")


class Meter(Enum):
    """What AWS meters: its name in the files, its label, its unit, and how many units a price is for."""

    WEBSOCKET_MESSAGES = ("websocketMessages", "WebSocket messages", "of 32 KB", 1e6)
    CONNECTION_MINUTES = ("connectionMinutes", "Connection minutes", "minutes", 1e6)
    HTTP_REQUESTS = ("httpRequests", "Control API requests", "of 512 KB", 1e6)
    LAMBDA_REQUESTS = ("lambdaRequests", "Lambda invocations", "invocations", 1e6)
    LAMBDA_ARM64 = ("lambdaArm64", "Lambda time, arm64", "GB-seconds", 1)
    LAMBDA_X86 = ("lambdaX86", "Lambda time, x86_64", "GB-seconds", 1)
    PROVISIONED_ARM64 = ("provisionedArm64", "Lambda kept warm, arm64", "GB-seconds", 1)
    PROVISIONED_X86 = ("provisionedX86", "Lambda kept warm, x86_64", "GB-seconds", 1)
    WRITE_UNITS = ("writeUnits", "DynamoDB writes", "of 1 KB", 1e6)
    READ_UNITS = ("readUnits", "DynamoDB reads", "of 4 KB", 1e6)
    TABLE_STORAGE = ("tableStorage", "DynamoDB storage", "GB", 1)
    SQS_REQUESTS = ("sqsRequests", "SQS requests", "of 64 KB", 1e6)
    SECRETS = ("secrets", "Secrets Manager", "secrets", 1)
    LOGS = ("logs", "CloudWatch logs", "GB", 1)
    DATA_OUT = ("dataOut", "Data out to the internet", "GB", 1)

    def __init__(self, key: str, label: str, unit: str, per: float) -> None:
        self.key = key
        self.label = label
        self.unit = unit
        self.per = per


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`usd` is for a meter's `per` units, or a list of tiers: [upper limit in units, price]; the last limit is None.

    `source` is a key of the file's sources; None if the price is not checked.
    """

    usd: float | list[tuple[float | None, float]]
    source: str | None = None

    def cost(self, quantity: float, per: float) -> float:
        """Return USD for `quantity` units. Each tier's price applies to the units in it."""
        tiers = self.usd if isinstance(self.usd, list) else [(None, self.usd)]
        total, begin = 0.0, 0.0
        for limit, usd in tiers:
            end = quantity if limit is None else min(quantity, limit)
            if end > begin:
                total += (end - begin) / per * usd
                begin = end
        return total


class Region(msgspec.Struct, frozen=True):
    name: str
    prices: dict[str, Price]

    def price(self, meter: Meter) -> Price:
        return self.prices[meter.key]


class Source(msgspec.Struct, frozen=True):
    url: str
    says: str = ""


class PriceBook(msgspec.Struct, frozen=True):
    """`date` is when the prices were collected."""

    date: str
    sources: dict[str, Source]
    regions: dict[str, Region]

    def url_of(self, price: Price) -> str | None:
        return self.sources[price.source].url if price.source else None

    def region(self, name: str) -> Region:
        """Raises InvalidSettings."""
        if name not in self.regions:
            known = ", ".join(sorted(self.regions))
            raise InvalidSettings([f"there are no prices for the region {name!r}. There are for: {known}"])
        return self.regions[name]


def read_prices(path: Path = PRICES_FILE) -> PriceBook:
    """Raises InvalidSettings where the file is missing, is not a price file, or lacks prices."""
    try:
        book = read_json_file(path, PriceBook)
    except OSError as error:
        raise InvalidSettings([f"cannot read {path}: {error.strerror}"]) from error
    except NotSuchAFile as error:
        raise InvalidSettings([f"{path} is not a price file: {error}"]) from error
    problems = []
    for name, region in book.regions.items():
        problems += [f"{path}: {name} has no price {m.key!r}" for m in Meter if m.key not in region.prices]
        for key, price in region.prices.items():
            if price.source is not None and price.source not in book.sources:
                problems.append(
                    f"{path}: {name}: {key} names the source {price.source!r}, which the file does not have"
                )
            if isinstance(price.usd, list) and not _are_tiers(price.usd):
                problems.append(f"{path}: {name}: {key} needs tiers with growing limits, the last of them null")
    if problems:
        raise InvalidSettings(problems)
    return book


def _are_tiers(tiers: list[tuple[float | None, float]]) -> bool:
    limits = [limit for limit, _ in tiers]
    bounds = [limit for limit in limits[:-1] if limit is not None]
    return bool(limits) and limits[-1] is None and len(bounds) == len(limits) - 1 and bounds == sorted(set(bounds))
