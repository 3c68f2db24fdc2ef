"""The JWT secrets, out of SSM's Parameter Store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from ..errors import InvalidSettings
from ..gateway.ports import Unavailable
from .calls import calling, error_code, refusals

if TYPE_CHECKING:
    from types_boto3_ssm.client import SSMClient

log = logging.getLogger("slip_sockets.aws")

_decoder: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(min_length=1)])


class ParameterSecrets:
    """`Secrets` of the gateway: the SecureString `parameter`, a JSON list whose first entry signs.

    It is read once, here: other secrets are another parameter. While SSM is away each event asks again, since a
    function that cannot start loses what API Gateway tells it once only: who has left. Raises InvalidSettings.
    """

    def __init__(self, client: SSMClient, parameter: str) -> None:
        self._client = client
        self._parameter = parameter
        self._secrets: Sequence[str] = ()
        try:
            self._secrets = self._read()
        except Unavailable as error:
            log.warning("the JWT secrets cannot be read, and each event asks for them again: %s", error)

    def __call__(self) -> Sequence[str]:
        if not self._secrets:
            try:
                self._secrets = self._read()
            except InvalidSettings as error:
                raise Unavailable(str(error)) from error
        return self._secrets

    def _read(self) -> Sequence[str]:
        value = self._value()
        try:
            return _decoder.decode(value)
        except msgspec.DecodeError:  # whose message and context may tell of the value
            problem = f"the SSM parameter {self._parameter} is not a JSON list of secrets. Deploy again"
        raise InvalidSettings([problem])

    def _value(self) -> str:
        with calling("SSM"):
            try:
                return self._client.get_parameter(Name=self._parameter, WithDecryption=True)["Parameter"]["Value"]
            except refusals() as error:
                if error_code(error) != "ParameterNotFound":
                    raise
                problem = f"SSM has no parameter {self._parameter}, which the deployment makes. Deploy again"
                raise InvalidSettings([problem]) from error
