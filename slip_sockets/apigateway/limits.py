"""API Gateway's quotas, and what follows from them.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

from __future__ import annotations

IDLE_TIMEOUT_S = 10 * 60.0
MAX_CONNECTION_S = 2 * 60 * 60.0
INTEGRATION_TIMEOUT_S = 29.0
"""How long API Gateway waits for a function of the WebSocket API."""
MAX_MESSAGE_BYTES = 128 * 1024
MAX_FRAME_BYTES = 32 * 1024

BACKEND_TIMEOUT_S = 25.0
"""How long the gateway waits for the backend: shorter than the integration timeout, so that time is left to perform the
reply."""
ROW_LIFETIME_S = MAX_CONNECTION_S + 10 * 60
"""How long a row of a connection lives: somewhat longer than any connection."""
OPENING_WINDOW_S = 60.0
"""A connection accepted so recently may not be open yet: a 410 of the management API may mean "not yet". API Gateway
opens it once the $connect function has responded, which may take 29 s, and the clocks of two functions may differ."""
