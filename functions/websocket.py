"""Lambda handler of the WebSocket API: $connect, $default and $disconnect."""

import os

from slip_sockets.aws.lambda_function import websocket_handler

handler = websocket_handler(os.environ)
