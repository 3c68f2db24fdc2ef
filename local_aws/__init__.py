"""A local AWS to deploy to: moto for AWS's APIs, the development server's edge, functions under awslambdaric."""

from __future__ import annotations

from .permissions import Judgement
from .server import LocalAws, LocalAwsSettings

__all__ = ["Judgement", "LocalAws", "LocalAwsSettings"]
