"""Lambda handler of the HTTP API: the control API."""

import os

from slip_sockets.aws.lambda_function import control_handler

handler = control_handler(os.environ)
