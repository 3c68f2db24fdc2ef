"""A custom domain name for the WebSocket API."""

from __future__ import annotations

from constructs import Construct

from .aws import (
    AcmCertificate,
    AcmCertificateValidation,
    Apigatewayv2ApiMapping,
    Apigatewayv2DomainName,
    DataAwsRoute53Zone,
    Route53Record,
)
from .naming import named
from .websocket_api import WebSocketApi

VALIDATION_TTL_S = 300


class CustomDomain(Construct):
    """`domain_name` in the Route 53 zone `hosted_zone_name`: certificate validated by DNS, mapping, alias record."""

    def __init__(
        self, scope: Construct, id_: str, *, domain_name: str, hosted_zone_name: str, api: WebSocketApi
    ) -> None:
        super().__init__(scope, id_)
        zone = named(DataAwsRoute53Zone(self, "zone", name=hosted_zone_name, private_zone=False), "zone")
        certificate = named(
            AcmCertificate(
                self,
                "certificate",
                domain_name=domain_name,
                validation_method="DNS",
                lifecycle={"create_before_destroy": True},
            ),
            "websocket",
        )
        proof = certificate.domain_validation_options.get(0)
        validation_record = named(
            Route53Record(
                self,
                "validation_record",
                zone_id=zone.zone_id,
                name=proof.resource_record_name,
                type=proof.resource_record_type,
                records=[proof.resource_record_value],
                ttl=VALIDATION_TTL_S,
                allow_overwrite=True,
            ),
            "validation",
        )
        validated = named(
            AcmCertificateValidation(
                self, "validation", certificate_arn=certificate.arn, validation_record_fqdns=[validation_record.fqdn]
            ),
            "websocket",
        )
        domain = named(
            Apigatewayv2DomainName(
                self,
                "domain",
                domain_name=domain_name,
                domain_name_configuration={
                    "certificate_arn": validated.certificate_arn,
                    "endpoint_type": "REGIONAL",
                    "security_policy": "TLS_1_2",
                },
            ),
            "websocket",
        )
        mapping = Apigatewayv2ApiMapping(
            self, "mapping", api_id=api.api_id, domain_name=domain.id, stage=api.stage_name
        )
        named(mapping, "websocket")
        alias = Route53Record(
            self,
            "alias",
            zone_id=zone.zone_id,
            name=domain_name,
            type="A",
            alias={
                "name": domain.domain_name_configuration.target_domain_name,
                "zone_id": domain.domain_name_configuration.hosted_zone_id,
                "evaluate_target_health": False,
            },
        )
        named(alias, "websocket")
