"""The JWT secrets, read from AWS Secrets Manager."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Protocol, TypedDict

import msgspec

from ..gateway.errors import Unavailable
from ..protocol.errors import InvalidSettings
from .errors import AwsError, calling, error_code

log = logging.getLogger("slip_sockets.aws")

_decoder: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(min_length=1)])


class SecretValue(TypedDict):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html"""

    SecretString: str


class SecretsManagerClient(Protocol):
    """What is used of aiobotocore's client."""

    async def get_secret_value(self, *, SecretId: str, VersionId: str) -> SecretValue:  # noqa: N803 - AWS's names
        ...


class StoredSecrets:
    """The gateway's `Secrets`: the version `version` of the secret `arn`, a JSON list of which the first signs.

    It is read once: other secrets are another version. While Secrets Manager is away each event reads again.
    """

    def __init__(self, client: SecretsManagerClient, arn: str, version: str) -> None:
        self._client = client
        self._arn = arn
        self._version = version
        self._secrets: Sequence[str] = ()

    async def load(self) -> None:
        """Read the secrets at a cold start. Raises InvalidSettings.

        While Secrets Manager is away the function starts all the same: API Gateway sends each disconnect once, and a
        function that could not start would lose it.
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
            problem = f"version {self._version} of the secret {self._arn} is not a JSON list of secrets. Deploy again"
        raise InvalidSettings([problem])

    async def _value(self) -> str:
        with calling("Secrets Manager"):
            try:
                response = await self._client.get_secret_value(SecretId=self._arn, VersionId=self._version)
            except AwsError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise
                problem = (
                    f"Secrets Manager has no version {self._version} of the secret {self._arn}, "
                    "which the deployment makes. Deploy again"
                )
                raise InvalidSettings([problem]) from error
        return response["SecretString"]
