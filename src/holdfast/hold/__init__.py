"""The class that every caller holds."""

from holdfast.hold.bodies import PutItem
from holdfast.hold.hold import Hold
from holdfast.hold.pools import Pool, PoolCheck, PoolFacts, PoolInfo

__all__ = ["Hold", "Pool", "PoolCheck", "PoolFacts", "PoolInfo", "PutItem"]
