"""The HTTP API: one module for each kind of thing. Every route says who may call it in its first line."""
