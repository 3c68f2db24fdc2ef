"""How fast the development server is, beside Pushpin on the same machine. `python -m bench` prints the table."""
