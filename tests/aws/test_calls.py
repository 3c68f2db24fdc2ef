"""What of AWS's errors may be logged: those about parameters quote texts, metadata and keys."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ValidationError

from slip_sockets.aws.calls import AwsError, NoAnswer, calling
from slip_sockets.gateway.ports import Unavailable

QUOTE = "the value 'a secret text' is not allowed"


def told(error: Exception) -> str:
    with pytest.raises(Unavailable) as unavailable, calling("DynamoDB"):
        raise error
    assert unavailable.value.__cause__ is error
    return str(unavailable.value)


def refusal(code: str, message: str = QUOTE) -> dict[str, dict[str, str]]:
    return {"Error": {"Code": code, "Message": message}}


@pytest.mark.parametrize(
    "code",
    [
        "ValidationException",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.InvalidBatchEntryId",
        "SerializationException",
        "MalformedQueryString",
    ],
)
def test_an_error_that_quotes_what_was_sent_is_named_alone(code: str) -> None:
    assert told(AwsError("PutItem", refusal(code))) == f"DynamoDB: a call was refused with {code}"
    assert told(ClientError(refusal(code), "PutItem")) == f"DynamoDB: a call was refused with {code}"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        ParamValidationError(report=QUOTE),
        ValidationError(value="a secret text", param="Key", type_name="string"),
    ],
)
def test_what_the_client_itself_refuses_is_named_alone(error: Exception) -> None:
    assert told(error) == f"DynamoDB: a call was not made: {type(error).__name__}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            AwsError("PutItem", refusal("ProvisionedThroughputExceededException", "Slow down")),
            "PutItem: ProvisionedThroughputExceededException: Slow down",
        ),
        (NoAnswer("PutItem: timed out"), "PutItem: timed out"),
        (
            EndpointConnectionError(endpoint_url="http://127.0.0.1:1/"),
            'Could not connect to the endpoint URL: "http://127.0.0.1:1/"',
        ),
    ],
)
def test_another_error_is_told_whole(error: Exception, reason: str) -> None:
    assert told(error) == f"DynamoDB: {reason}"


def test_an_error_of_ours_passes() -> None:
    with pytest.raises(ZeroDivisionError), calling("DynamoDB"):
        raise ZeroDivisionError
