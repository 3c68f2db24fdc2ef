from __future__ import annotations

from collections.abc import Callable

import pytest

from .synthesis import PRODUCTION, STAGING, Synthesis

PROOF = "${tolist(aws_acm_certificate.websocket.domain_validation_options).0."
ZONE_ID = "${data.aws_route53_zone.zone.zone_id}"


@pytest.mark.parametrize(("name", "domain"), [(STAGING, "staging.ws.example.com"), (PRODUCTION, "ws.example.com")])
def test_a_certificate_is_proved_by_dns_before_it_is_used(all_options: Synthesis, name: str, domain: str) -> None:
    stack = all_options.stack(name)
    certificate = stack.resource("acm_certificate", "websocket")
    assert (certificate["domain_name"], certificate["validation_method"]) == (domain, "DNS")
    record = stack.resource("route53_record", "validation")
    assert (record["zone_id"], record["name"]) == (ZONE_ID, f"{PROOF}resource_record_name}}")
    assert (record["type"], record["records"]) == (
        f"{PROOF}resource_record_type}}",
        [f"{PROOF}resource_record_value}}"],
    )
    validation = stack.resource("acm_certificate_validation", "websocket")
    assert validation["certificate_arn"] == "${aws_acm_certificate.websocket.arn}"
    assert validation["validation_record_fqdns"] == ["${aws_route53_record.validation.fqdn}"]
    assert stack.resource("apigatewayv2_domain_name", "websocket")["domain_name_configuration"] == {
        "certificate_arn": "${aws_acm_certificate_validation.websocket.certificate_arn}",
        "endpoint_type": "REGIONAL",
        "security_policy": "TLS_1_2",
    }


@pytest.mark.parametrize(("name", "domain"), [(STAGING, "staging.ws.example.com"), (PRODUCTION, "ws.example.com")])
def test_the_name_leads_to_the_api(all_options: Synthesis, name: str, domain: str) -> None:
    stack = all_options.stack(name)
    assert stack.resource("apigatewayv2_domain_name", "websocket")["domain_name"] == domain
    mapping = stack.resource("apigatewayv2_api_mapping", "websocket")
    assert mapping["api_id"] == "${aws_apigatewayv2_api.websocket.id}"
    assert mapping["stage"] == "${aws_apigatewayv2_stage.live.name}"
    assert mapping["domain_name"] == "${aws_apigatewayv2_domain_name.websocket.id}"
    configuration = "${aws_apigatewayv2_domain_name.websocket.domain_name_configuration[0]"
    record = stack.resource("route53_record", "websocket")
    assert (record["zone_id"], record["name"], record["type"]) == (ZONE_ID, domain, "A")
    assert record["alias"] == {
        "name": f"{configuration}.target_domain_name}}",
        "zone_id": f"{configuration}.hosted_zone_id}}",
        "evaluate_target_health": False,
    }


def test_the_zone_may_be_named(synth: Callable[..., Synthesis], all_options: Synthesis) -> None:
    def zone(synthesis: Synthesis) -> object:
        return synthesis.stack(PRODUCTION).config["data"]["aws_route53_zone"]["zone"]["name"]

    assert zone(all_options) == "example.com"
    assert zone(synth(DOMAIN_NAME="ws.example.co.uk", HOSTED_ZONE_NAME="example.co.uk")) == "example.co.uk"


def test_functions_reach_the_management_api_past_the_domain(all_options: Synthesis) -> None:
    environment = all_options.stack(PRODUCTION).environment("websocket")
    assert environment["MANAGEMENT_URL"] == (
        '${replace(aws_apigatewayv2_api.websocket.api_endpoint, "/^ws/", "http")}/live'
    )
