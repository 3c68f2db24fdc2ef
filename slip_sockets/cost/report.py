"""An estimate in a terminal."""

from __future__ import annotations

from urllib.parse import urlsplit

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..gateway.worker import Inbound
from .model import Estimate

_NOTICEABLE_USD = 0.005
_BAR_WIDTH = 8
_PLURALS = {
    "publish": "publishes",
    "keep": "kept publishes",
    "recovery": "recoveries",
    "occupancy": "OCCUPIED, VACATED",
    "open sockets": "open sockets",
}


def render(result: Estimate) -> Group:
    parts: list[RenderableType] = [_title(result), _meters(result), _events(result)]
    parts += [Text(f"{'→' if index == 0 else ' '} {finding}") for index, finding in enumerate(result.findings)]
    parts += [Text(), *_notes(result)]
    return Group(*parts)


def _title(result: Estimate) -> Text:
    w = result.workload
    title = Text.assemble((f"{_usd(result.usd)} USD a month", "bold"), f" in {result.region}, {result.region_name}\n")
    title.append(
        f"{w.connections:,g} connections of {w.connection_min:g} min, each sending {w.sent_per_min:g} a minute"
        f"{', in order' if w.inbound is Inbound.ORDERED else ''}"
        f"{f', and {w.pings_per_min:g} pings' if w.pings_per_min else ''}; "
        f"{w.publishes_per_s:,g} publishes a second to {w.subscribers:,} each; {w.text_bytes:,} bytes; "
        f"backend {w.backend_ms:g} ms",
        "dim",
    )
    return title


def _meters(result: Estimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_footer=True)
    table.add_column("What AWS meters", footer="Total", no_wrap=True)
    table.add_column("a month", justify="right", no_wrap=True)
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("USD", justify="right", footer=_usd(result.usd), no_wrap=True)
    table.add_column("", style="cyan", no_wrap=True)
    for line in result.lines:
        unchecked = " ~" if line.source is None else ""
        usd = _usd(line.usd) if line.usd or not line.free else "free"
        table.add_row(
            line.label,
            _quantity(line.quantity),
            line.unit,
            Text(usd + unchecked) if not line.source else usd,
            "█" * round(line.share * _BAR_WIDTH) or ("▏" if line.usd >= _NOTICEABLE_USD else ""),
        )
    return table


def _events(result: Estimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("Of which", no_wrap=True)
    table.add_column("a month", justify="right", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for event in result.events:
        of_one = event.event != "open sockets"
        if not event.count:
            continue
        table.add_row(
            _PLURALS.get(event.event, f"{event.event}s"),
            _quantity(event.count) if of_one else "",
            _usd(event.usd),
            f"{event.aws_calls:,}" if of_one else "",
            f"{event.billed_ms:,}" if of_one else "",
        )
    return table


def _notes(result: Estimate) -> list[Text]:
    free = {
        "none": "no free tier",
        "always": "after the units that are always free",
        "first-year": "after the free tier of an account's first year",
    }[result.free_tier]
    notes = [Text(f"List prices of {result.prices_of}, {free}; without taxes. --json has all numbers.", "dim")]
    sources = sorted({line.source for line in result.lines if line.source})
    if sources:
        notes.append(
            Text(f"Sources: {', '.join(urlsplit(source).netloc + urlsplit(source).path for source in sources)}", "dim")
        )
    unchecked = [line.label for line in result.lines if line.source is None]
    if unchecked:
        notes.append(
            Text(f"~ {len(unchecked)} of the {len(result.lines)} prices are not checked for this region. ", "yellow")
            + Text("Look them up, and give your own with --prices, before you plan a budget with them.", "yellow")
        )
    return notes


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= _NOTICEABLE_USD or not usd else "< 0.01"


def _quantity(quantity: float) -> str:
    for limit, suffix in ((1e9, " bn"), (1e6, " M")):
        if quantity >= limit:
            return f"{quantity / limit:,.2f}{suffix}"
    return f"{quantity:,.0f}" if quantity >= 100 or quantity == round(quantity) else f"{quantity:,.3g}"
