"""The command line: thin commands over `Hold`."""
