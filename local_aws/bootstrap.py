"""The program of a function's process: awslambdaric, with the deployed code first on the import path.

It is run by file name, with `-I`, by a Python that has Lambda's own packages and nothing of this project.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From Linux's prctl.h. Without it, awslambdaric would ask for the next event for ever if the local AWS is killed."""

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
sys.argv = ["awslambdaric", os.environ["_HANDLER"]]
runpy.run_module("awslambdaric", run_name="__main__")
