import os

DEBUG = True
SECRET_KEY = "Django needs one; nothing here uses it"
ROOT_URLCONF = "project.urls"

SLIP_SOCKETS_CONTROL_API = os.environ.get("CONTROL_API", "http://127.0.0.1:8787/control")
SLIP_SOCKETS_JWT_SECRET = os.environ.get("JWT_SECRET", "change-me")
