"""Leaf stores, one per medium. No driver knows another, and only `config` and `testing` name them."""
