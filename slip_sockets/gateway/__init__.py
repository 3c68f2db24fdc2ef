"""The gateway: what decides and what does. No AWS in it; it names what it needs in `ports`."""
