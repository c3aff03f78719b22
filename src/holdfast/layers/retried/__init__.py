"""Asks again where asking again may help. `driver` is the layer, `tries` counts and waits, `resumed` is its stream."""

from holdfast.layers.retried.driver import RetriedDriver

__all__ = ["RetriedDriver"]
