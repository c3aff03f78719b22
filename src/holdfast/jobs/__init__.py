"""Users' commands, run beside the data."""
