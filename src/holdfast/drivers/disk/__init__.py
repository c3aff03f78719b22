"""A pool that is a folder."""

from holdfast.drivers.disk.driver import DiskDriver
from holdfast.drivers.disk.medium import MARK_NAME

__all__ = ["MARK_NAME", "DiskDriver"]
