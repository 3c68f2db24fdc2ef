"""A backend with Django and django-grip, as their documentation has it."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from tests.grip.backends.serving import serve

if __name__ == "__main__":
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        GRIP_URL=os.environ["GRIP_URL"],
        MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django_grip.GripMiddleware"],
        ROOT_URLCONF="tests.grip.backends.django_views",
        SECRET_KEY="of-the-test",
    )
    serve(get_wsgi_application())
