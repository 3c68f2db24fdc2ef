"""A chat with rooms: `python -m examples.chat` runs it on this machine."""
