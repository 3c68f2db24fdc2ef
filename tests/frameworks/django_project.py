"""A Django project in this process: its settings, and the views that the tests call."""

from __future__ import annotations

import django
from django.conf import settings
from django.test import Client

SECRET = "a-secret-of-more-than-thirty-two-bytes"

if not settings.configured:
    settings.configure(
        SECRET_KEY="django wants one",
        ROOT_URLCONF="tests.frameworks.django_urls",
        ALLOWED_HOSTS=["testserver"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        SLIP_SOCKETS_CONTROL_API="http://127.0.0.1:1/control",
        SLIP_SOCKETS_JWT_SECRET=SECRET,
        SLIP_SOCKETS_PREVIOUS_SECRETS=["previous"],
        SLIP_SOCKETS_SUBPROTOCOL="slip.v1",
    )
    django.setup()


def client() -> Client:
    return Client(enforce_csrf_checks=True, raise_request_exception=False)
