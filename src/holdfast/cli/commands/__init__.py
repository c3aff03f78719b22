"""The commands, by what they are about. Each module imports what it needs inside its functions."""
