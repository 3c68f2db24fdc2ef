"""`python -m examples.chat`."""

import os
import signal
import sys

if __name__ == "__main__":
    # A Ctrl-C during the imports ends the program as quietly as a later one. There is nothing to clean up yet, and a
    # module that is being imported could swallow an exception.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))

    from .program import main

    sys.exit(main())
