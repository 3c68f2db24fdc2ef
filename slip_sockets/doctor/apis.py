"""Whether the URLs of the outputs are of APIs that exist, and whether the account's quota allows their throttles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .account import Account, NotThere, side_by_side
from .findings import Finding, fine, wrong
from .outputs import WRITE_ANEW
from .settings import DoctorSettings

OTHER_DEPLOYMENT = f"{WRITE_ANEW}; or these credentials are of another account"


@dataclass(frozen=True, slots=True)
class Throttle:
    """Requests a second, and the size of the token bucket."""

    rate: float
    burst: int


async def check_urls(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    apis = await account.pages("apigatewayv2", "get_apis", "Items")
    host = urlsplit(settings.outputs.websocket_url).hostname or ""
    mapped: list[str] = []
    if not any(urlsplit(api["ApiEndpoint"]).hostname == host for api in apis) and ".execute-api." not in host:
        mapped = await _mapped(account, host)
    return judge_urls(settings, apis, mapped, where=account.where)


async def _mapped(account: Account, domain: str) -> list[str]:
    """Return the ids of the APIs to which a domain of one's own leads."""
    try:
        response = await account.call("apigatewayv2", "get_api_mappings", DomainName=domain)
    except NotThere:
        return []
    return [str(mapping["ApiId"]) for mapping in response.get("Items", [])]


def judge_urls(
    settings: DoctorSettings, apis: Sequence[Mapping[str, Any]], mapped: Sequence[str], *, where: str
) -> list[Finding]:
    """`apis` are API Gateway's, `mapped` the ids of those behind a domain of one's own."""
    findings = []
    for output, url, suffix in (
        ("websocketUrl", settings.outputs.websocket_url, "websocket"),
        ("controlApi", settings.outputs.control_api, "control"),
    ):
        name = f"{settings.stack}-{suffix}"
        ours = [api for api in apis if api["Name"] == name]
        others = [api for api in apis if _leads_to(url, api) or api["ApiId"] in mapped]
        if not ours:
            findings.append(wrong("urls", f"there is no API {name} {where}", OTHER_DEPLOYMENT))
        elif any(_leads_to(url, api) or (suffix == "websocket" and api["ApiId"] in mapped) for api in ours):
            findings.append(fine("urls", f"{output} leads to the API {name}"))
        else:
            to = f"leads to the API {others[0]['Name']}" if others else "leads to no API"
            findings.append(wrong("urls", f"{output} {to}, and that of {name} is {ours[0]['ApiEndpoint']}", WRITE_ANEW))
    return findings


def _leads_to(url: str, api: Mapping[str, Any]) -> bool:
    return f"{url}/".startswith(f"{api['ApiEndpoint']}/")


async def check_throttles(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    apis, of_account = await side_by_side(
        account.pages("apigatewayv2", "get_apis", "Items"), account.call("apigateway", "get_account")
    )
    quota = of_account.get("throttleSettings", {})
    throttles: dict[str, Throttle] = {}
    for name in (f"{settings.stack}-websocket", f"{settings.stack}-control"):
        for api in (api for api in apis if api["Name"] == name):
            stages = await account.pages("apigatewayv2", "get_stages", "Items", ApiId=api["ApiId"])
            for stage in stages:
                route = stage.get("DefaultRouteSettings", {})
                throttles[name] = Throttle(
                    float(route.get("ThrottlingRateLimit") or 0), int(route.get("ThrottlingBurstLimit") or 0)
                )
    return judge_throttles(throttles, Throttle(float(quota.get("rateLimit", 0)), int(quota.get("burstLimit", 0))))


def judge_throttles(throttles: Mapping[str, Throttle], quota: Throttle) -> list[Finding]:
    """`throttles` are those of the stages, by the name of their API; `quota` is the account's, for all APIs together.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    findings = []
    for name, throttle in throttles.items():
        text = f"{name} takes {throttle.rate:,.0f} requests a second, {throttle.burst:,} at once"
        if not throttle.rate or not throttle.burst:
            findings.append(wrong("throttles", f"{text}: all others get 429", "It was changed by hand: deploy again"))
        elif quota.rate and throttle.rate > quota.rate:
            finding = f"{text}, and the account {quota.rate:,.0f} for all its APIs"
            findings.append(wrong("throttles", finding, "Request a higher throttle of API Gateway for the account"))
        else:
            findings.append(fine("throttles", f"{text}; the account {quota.rate:,.0f} for all its APIs"))
    return findings or [wrong("throttles", "there is no stage", "Deploy again")]
