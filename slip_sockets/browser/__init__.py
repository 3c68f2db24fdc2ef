"""The browser's side: `slip-sockets.js`, an ES module without dependencies; see docs/browser.md.

Serve it as one of your static files: copy it, or let your framework send `MODULE`.
"""

from __future__ import annotations

from pathlib import Path

MODULE = Path(__file__).with_name("slip-sockets.js")
"""Path of the module. Serve it as `text/javascript`."""
