"""A bounded cache on local disk in front of a pool. `driver` is the layer and says what it promises."""

from holdfast.layers.cached.driver import CachedDriver
from holdfast.layers.cached.folder import CacheFolder

__all__ = ["CacheFolder", "CachedDriver"]
