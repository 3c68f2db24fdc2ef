"""`python -m examples.chat`."""

import os
import signal
import sys

if __name__ == "__main__":
    # A Ctrl-C while it still imports ends it as quietly as a later one. Nothing is there yet to clean up, and an
    # exception could be swallowed by whatever is being imported.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))

    from .program import main

    sys.exit(main())
