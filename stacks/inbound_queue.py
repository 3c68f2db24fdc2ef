"""The queue of what clients send with INBOUND=ordered, and how API Gateway puts it there without a function."""

from __future__ import annotations

from urllib.parse import quote

from cdktf import Fn
from constructs import Construct

from .aws import IamRole, IamRolePolicy
from .deferred_queue import VISIBILITY_TIMEOUT_S
from .fifo_queue import fifo_queue
from .naming import named
from .permissions import Allow, assumed_by, policy

_CONNECTION_ID = "$util.urlEncode($context.connectionId)"
_MESSAGE_ID = "$util.urlEncode($context.messageId)"


class InboundQueue(Construct):
    """A FIFO queue in which each connection is a group, and a role for API Gateway that may send to it.

    `url`, `arn`, `name`, `role_arn` and `send_uri`, with which an integration of API Gateway sends, are Terraform
    references. An integration that depends on `policy` exists only while the role may send.
    """

    def __init__(
        self, scope: Construct, id_: str, *, stack_name: str, dead_letters_arn: str, deletion_protection: bool
    ) -> None:
        super().__init__(scope, id_)
        queue = fifo_queue(
            self,
            "inbound",
            name=f"{stack_name}-inbound.fifo",
            deletion_protection=deletion_protection,
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            dead_letters_arn=dead_letters_arn,
        )
        role = IamRole(self, "role", name=f"{stack_name}-inbound", assume_role_policy=assumed_by("apigateway"))
        named(role, "inbound")
        sends = policy(Allow(["sqs:SendMessage"], [queue.arn]))
        self.policy = named(IamRolePolicy(self, "policy", name="queue", role=role.name, policy=sends), "inbound")
        self.url: str = queue.url
        self.arn: str = queue.arn
        self.name: str = queue.name
        self.role_arn: str = role.arn
        # https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-integrations.html
        self.send_uri: str = Fn.replace(
            queue.arn, "/^arn:([^:]+):sqs:([^:]+):([^:]+):(.+)$/", "arn:$1:apigateway:$2:sqs:path/$3/$4"
        )


def text_template() -> str:
    """Return the mapping template that makes a SendMessage of a text.

    The text is base64, so that each one survives, in the form and in SQS, which takes only characters of XML 1.0.
    A message without a text has no body, and the functions take only strings.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    return _send_message(
        _MESSAGE_ID,
        _literal('{"type":"texts","connection_id":"'),
        _CONNECTION_ID,
        _literal('","texts":[{"id":"'),
        _MESSAGE_ID,
        _literal('","data":"'),
        "#if($input.body)$util.urlEncode($util.base64Encode($input.body))#end",
        _literal('"}]}'),
    )


def disconnect_template() -> str:
    """Return the mapping template that makes a SendMessage of a disconnect.

    AWS documents its status and reason for functions only, so that they are left out where the context has none.
    """
    return _send_message(
        "disconnected",
        _literal('{"type":"disconnected","connection_id":"'),
        _CONNECTION_ID,
        _literal('"'),
        _if_any("disconnectStatusCode", _literal(',"code":'), "$context.disconnectStatusCode"),
        _if_any(
            "disconnectReason",
            _literal(',"reason":"'),
            "$util.urlEncode($util.base64Encode($context.disconnectReason))",
            _literal('"'),
        ),
        _literal("}"),
    )


def _send_message(deduplication_id: str, *body: str) -> str:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
    form = {
        "Action": "SendMessage",
        "MessageGroupId": _CONNECTION_ID,
        "MessageDeduplicationId": deduplication_id,
        "MessageBody": "".join(body),
    }
    return "&".join(f"{name}={value}" for name, value in form.items())


def _literal(text: str) -> str:
    """Return the text as it stands in a form: none of its characters means anything to Velocity."""
    return quote(text, safe="")


def _if_any(variable: str, *parts: str) -> str:
    """Return the parts for the case that the context has the variable, and that it is not empty."""
    return f'#if("$!context.{variable}" != ""){"".join(parts)}#end'
