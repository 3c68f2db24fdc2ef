"""Stand-ins for what the measured programs call: AWS, a backend. Each is a program of its own that costs little."""
