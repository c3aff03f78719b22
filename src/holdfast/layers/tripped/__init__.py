"""Leaves a pool alone that does not answer. `driver` is the layer, `breaker` keeps the state, `watched` its streams."""

from holdfast.layers.tripped.driver import TrippedDriver

__all__ = ["TrippedDriver"]
