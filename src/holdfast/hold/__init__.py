"""The class that every caller holds."""

from holdfast.hold.bodies import PutItem
from holdfast.hold.facts import Pool, PoolCheck, PoolFacts, PoolInfo
from holdfast.hold.hold import Hold

__all__ = ["Hold", "Pool", "PoolCheck", "PoolFacts", "PoolInfo", "PutItem"]
