"""The JWT secrets, read from SSM's Parameter Store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from ..gateway.errors import Unavailable
from ..protocol.errors import InvalidSettings
from .errors import AwsError, calling, error_code

if TYPE_CHECKING:
    from types_aiobotocore_ssm.client import SSMClient

log = logging.getLogger("slip_sockets.aws")

_decoder: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(min_length=1)])


class ParameterSecrets:
    """The gateway's `Secrets`: the SecureString `parameter`, a JSON list of which the first signs.

    It is read once: other secrets are in another parameter. While SSM is away each event reads again.
    """

    def __init__(self, client: SSMClient, parameter: str) -> None:
        self._client = client
        self._parameter = parameter
        self._secrets: Sequence[str] = ()

    async def load(self) -> None:
        """Read the secrets at a cold start. Raises InvalidSettings.

        While SSM is away the function starts all the same: API Gateway sends each disconnect once, and a function that
        could not start would lose it.
        """
        try:
            self._secrets = await self._read()
        except Unavailable as error:
            log.warning("the JWT secrets cannot be read, and each event reads them again: %s", error)

    async def __call__(self) -> Sequence[str]:
        if not self._secrets:
            try:
                self._secrets = await self._read()
            except InvalidSettings as error:
                raise Unavailable(str(error)) from error
        return self._secrets

    async def _read(self) -> Sequence[str]:
        value = await self._value()
        try:
            return _decoder.decode(value)
        except msgspec.DecodeError:  # its message and context may quote the value
            problem = f"the SSM parameter {self._parameter} is not a JSON list of secrets. Deploy again"
        raise InvalidSettings([problem])

    async def _value(self) -> str:
        with calling("SSM"):
            try:
                response = await self._client.get_parameter(Name=self._parameter, WithDecryption=True)
            except AwsError as error:
                if error_code(error) != "ParameterNotFound":
                    raise
                problem = f"SSM has no parameter {self._parameter}, which the deployment makes. Deploy again"
                raise InvalidSettings([problem]) from error
        return response["Parameter"]["Value"]
