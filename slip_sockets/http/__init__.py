"""One HTTP/1.1 client for all that the gateway sends: to the backend, to AWS's services, to the management API.

- `url` takes a URL apart, and keeps its path and query as they were set.
- `reader` reads a response from bytes, without I/O, over `httptools`; `codings` undoes gzip and deflate.
- `connection` is one TCP connection, with one request at a time.
- `pool` keeps connections for each host.
- `client` makes a request: with time limits, and once more where a kept connection turned out to be dead.

The sender of texts (`aws.sender`) drives connections of the same pool by callbacks.
"""
