"""Holds a pool back. `driver` is the layer, `limits` counts and waits for all threads of a process."""

from holdfast.layers.limited.driver import LimitedDriver

__all__ = ["LimitedDriver"]
