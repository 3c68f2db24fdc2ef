from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slip_sockets.cost.prices import PRICES_FILE, Meter, Price, read_prices
from slip_sockets.protocol.errors import InvalidSettings

REGIONS = ["ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "eu-central-1", "eu-west-1", "us-east-1", "us-west-2"]


@pytest.mark.parametrize(
    ("quantity", "usd"), [(0, 0), (1e6, 1), (300e6, 300), (301e6, 300.9), (1_300e6, 300 + 1_000 * 0.9)]
)
def test_each_tier_has_its_own_price(quantity: float, usd: float) -> None:
    price = Price([(300e6, 1.0), (None, 0.9)])
    assert price.cost(quantity, 1e6) == pytest.approx(usd)


def test_a_price_may_have_no_tiers() -> None:
    assert Price(0.25).cost(750_000, 1e6) == pytest.approx(0.1875)


def test_the_file_has_the_regions_and_each_price_says_where_it_is_from() -> None:
    book = read_prices()
    assert sorted(book.regions) == REGIONS
    assert {price.source is None for price in book.regions["us-east-1"].prices.values()} == {False}
    assert all(source.url.startswith("https://") for source in book.sources.values())


def test_a_larger_tier_is_never_dearer() -> None:
    for region in read_prices().regions.values():
        for key, price in region.prices.items():
            if isinstance(price.usd, list):
                usd = [usd for _, usd in price.usd]
                assert usd == sorted(usd, reverse=True), (region.name, key)


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidSettings) as error:
        read_prices(path)
    return error.value.problems


def changed(tmp_path: Path, **prices: Any) -> Path:
    """The file with other prices for us-east-1; None removes one."""
    book = json.loads(PRICES_FILE.read_text())
    of_region = book["regions"]["us-east-1"]["prices"] | prices
    book["regions"] = {"us-east-1": {"name": "x", "prices": {k: v for k, v in of_region.items() if v is not None}}}
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(book))
    return path


def test_prices_of_ones_own_are_read(tmp_path: Path) -> None:
    book = read_prices(changed(tmp_path, logs={"usd": 7}))
    assert book.region("us-east-1").price(Meter.LOGS) == Price(7)


def test_a_bad_file_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    assert problems(path) == [f"cannot read {path}: No such file or directory"]
    path.write_text("{")
    assert problems(path) == [f"{path} is not a price file: it is not JSON: Input data was truncated"]
    assert problems(changed(tmp_path, logs=None)) == [f"{path}: us-east-1 has no price 'logs'"]
    assert problems(changed(tmp_path, logs={"usd": 1, "source": "x"})) == [
        f"{path}: us-east-1: logs names the source 'x', which the file does not have"
    ]
    for tiers in ([], [[1, 1]], [[2, 1], [1, 1], [None, 1]], [[None, 1], [None, 1]]):
        assert problems(changed(tmp_path, logs={"usd": tiers})) == [
            f"{path}: us-east-1: logs needs tiers with growing limits, the last of them null"
        ]


def test_an_unknown_region_names_the_known_ones() -> None:
    with pytest.raises(InvalidSettings) as error:
        read_prices().region("mars-1")
    assert error.value.problems == [f"there are no prices for the region 'mars-1'. There are for: {', '.join(REGIONS)}"]
