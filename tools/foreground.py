#!/usr/bin/env python3
"""Runs a command so that Ctrl-C reaches it, and not the `make` that started it.

At Ctrl-C a terminal interrupts its whole foreground process group, and `make` then fails even if its command succeeds.
So on a terminal the command gets a foreground process group of its own, as a shell's job does. Without a terminal the
command is simply run.
"""

import contextlib
import os
import signal
import sys


def main(command: list[str]) -> int:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        os.execvp(command[0], command)
    group = os.getpgrp()
    if os.tcgetpgrp(terminal) != group:
        os.execvp(command[0], command)

    # Otherwise this process would be stopped when it moves the terminal between process groups from the background.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpid())
        os.close(terminal)
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(command[0], command)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        os.tcsetpgrp(terminal, group)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        # Ctrl-Z: stop with the command, and continue with it.
        os.killpg(group, signal.SIGTSTP)
        os.tcsetpgrp(terminal, child)
        os.killpg(child, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
