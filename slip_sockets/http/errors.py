"""Why bytes are not a response."""


class BadResponse(Exception):
    """The bytes are not a response. The connection must not be used again."""


class CutOff(BadResponse):
    """The connection ended before the response was complete."""


class ResponseTooLarge(BadResponse):
    """The head or the body is beyond its limit."""
