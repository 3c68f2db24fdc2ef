"""What exists in AWS: one construct a file. Everything of CDKTF stays in this folder, `main.py` and `tests/stacks/`."""

import os

# CDKTF starts Node.js when it is imported, and each start prints a long warning that Node.js 20 is old. It works.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
