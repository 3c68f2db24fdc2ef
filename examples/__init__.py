"""Programs that use the client library."""
