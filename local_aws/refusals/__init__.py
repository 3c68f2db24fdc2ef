"""What AWS refuses and moto takes: limits and characters, a module for each group of services.

All run in moto's thread, before moto handles a request.
"""

from __future__ import annotations

from ..api_request import ApiRequest, ApiResponse, error_response
from .deploying import check_deploying
from .dynamodb import check_dynamodb
from .refused import Refused
from .sqs import check_sqs


def refusal_of(request: ApiRequest, account_id: str) -> ApiResponse | None:
    """Return AWS's error for a request that it does not take."""
    try:
        match request.service:
            case "dynamodb":
                check_dynamodb(request, account_id)
            case "sqs":
                check_sqs(request)
            case "apigateway" | "iam" | "lambda" | "logs" | "secretsmanager":
                check_deploying(request, account_id)
    except Refused as refused:
        return error_response(request, 400, refused.code, str(refused))
    return None
