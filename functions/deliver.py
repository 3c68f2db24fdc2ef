"""Lambda handler of the SQS queue: deferred messages."""

import os

from slip_sockets.aws.lambda_function import deliver_handler

handler = deliver_handler(os.environ)
