"""What a function's process starts: awslambdaric, with the deployed code first on the import path.

It is run by file name, with `-I`, by a Python that has Lambda's own packages; nothing of this project is there.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From Linux's prctl.h. awslambdaric would ask for the next event for ever after the local AWS was killed."""

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
sys.argv = ["awslambdaric", os.environ["_HANDLER"]]
runpy.run_module("awslambdaric", run_name="__main__")
