pytest_plugins = ["slip_sockets.testing.plugin"]
