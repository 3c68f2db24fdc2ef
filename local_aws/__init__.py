"""A local AWS to deploy to: moto for AWS's APIs, the development server's edge, functions under awslambdaric."""

from __future__ import annotations

from .local import LocalAws
from .permissions import AccessDecision
from .settings import LocalAwsSettings
from .strictness import Strictness

__all__ = ["AccessDecision", "LocalAws", "LocalAwsSettings", "Strictness"]
