"""The AWS provider's bindings, without their 20 seconds.

`import cdktf_cdktf_provider_aws` runs an `__init__` that imports all of its 2,137 modules. Here the package is put into
`sys.modules` without being run; an import of a submodule then loads only that module. A test holds that the output is
the same; `bench/` measures the difference.
"""

from __future__ import annotations

import importlib.util
import sys

_PACKAGE = "cdktf_cdktf_provider_aws"


def _enter_without_running() -> None:
    if _PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed; run the make target again, it installs it")
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)


_enter_without_running()

from cdktf_cdktf_provider_aws.acm_certificate import AcmCertificate  # noqa: E402
from cdktf_cdktf_provider_aws.acm_certificate_validation import AcmCertificateValidation  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_api import Apigatewayv2Api  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_api_mapping import Apigatewayv2ApiMapping  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_domain_name import Apigatewayv2DomainName  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_integration import Apigatewayv2Integration  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_integration_response import (  # noqa: E402
    Apigatewayv2IntegrationResponse,
)
from cdktf_cdktf_provider_aws.apigatewayv2_route import Apigatewayv2Route  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_route_response import Apigatewayv2RouteResponse  # noqa: E402
from cdktf_cdktf_provider_aws.apigatewayv2_stage import Apigatewayv2Stage  # noqa: E402
from cdktf_cdktf_provider_aws.cloudwatch_dashboard import CloudwatchDashboard  # noqa: E402
from cdktf_cdktf_provider_aws.cloudwatch_log_group import CloudwatchLogGroup  # noqa: E402
from cdktf_cdktf_provider_aws.cloudwatch_metric_alarm import (  # noqa: E402
    CloudwatchMetricAlarm,
    CloudwatchMetricAlarmMetricQuery,
    CloudwatchMetricAlarmMetricQueryMetric,
)
from cdktf_cdktf_provider_aws.data_aws_route53_zone import DataAwsRoute53Zone  # noqa: E402
from cdktf_cdktf_provider_aws.dynamodb_table import (  # noqa: E402
    DynamodbTable,
    DynamodbTableAttribute,
    DynamodbTableGlobalSecondaryIndex,
)
from cdktf_cdktf_provider_aws.iam_role import IamRole  # noqa: E402
from cdktf_cdktf_provider_aws.iam_role_policy import IamRolePolicy  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_alias import LambdaAlias  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_event_source_mapping import LambdaEventSourceMapping  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_function import LambdaFunction  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_function_url import LambdaFunctionUrl  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_permission import LambdaPermission  # noqa: E402
from cdktf_cdktf_provider_aws.lambda_provisioned_concurrency_config import (  # noqa: E402
    LambdaProvisionedConcurrencyConfig,
)
from cdktf_cdktf_provider_aws.provider import AwsProvider, AwsProviderDefaultTags  # noqa: E402
from cdktf_cdktf_provider_aws.route53_record import Route53Record  # noqa: E402
from cdktf_cdktf_provider_aws.secretsmanager_secret import SecretsmanagerSecret  # noqa: E402
from cdktf_cdktf_provider_aws.secretsmanager_secret_version import SecretsmanagerSecretVersion  # noqa: E402
from cdktf_cdktf_provider_aws.sns_topic import SnsTopic  # noqa: E402
from cdktf_cdktf_provider_aws.sns_topic_policy import SnsTopicPolicy  # noqa: E402
from cdktf_cdktf_provider_aws.sns_topic_subscription import SnsTopicSubscription  # noqa: E402
from cdktf_cdktf_provider_aws.sqs_queue import SqsQueue  # noqa: E402

__all__ = [
    "AcmCertificate",
    "AcmCertificateValidation",
    "Apigatewayv2Api",
    "Apigatewayv2ApiMapping",
    "Apigatewayv2DomainName",
    "Apigatewayv2Integration",
    "Apigatewayv2IntegrationResponse",
    "Apigatewayv2Route",
    "Apigatewayv2RouteResponse",
    "Apigatewayv2Stage",
    "AwsProvider",
    "AwsProviderDefaultTags",
    "CloudwatchDashboard",
    "CloudwatchLogGroup",
    "CloudwatchMetricAlarm",
    "CloudwatchMetricAlarmMetricQuery",
    "CloudwatchMetricAlarmMetricQueryMetric",
    "DataAwsRoute53Zone",
    "DynamodbTable",
    "DynamodbTableAttribute",
    "DynamodbTableGlobalSecondaryIndex",
    "IamRole",
    "IamRolePolicy",
    "LambdaAlias",
    "LambdaEventSourceMapping",
    "LambdaFunction",
    "LambdaFunctionUrl",
    "LambdaPermission",
    "LambdaProvisionedConcurrencyConfig",
    "Route53Record",
    "SecretsmanagerSecret",
    "SecretsmanagerSecretVersion",
    "SnsTopic",
    "SnsTopicPolicy",
    "SnsTopicSubscription",
    "SqsQueue",
]
