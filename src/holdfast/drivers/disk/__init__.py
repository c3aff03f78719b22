"""A pool that is a folder."""

from holdfast.drivers.disk.driver import MARK_NAME, DiskDriver

__all__ = ["MARK_NAME", "DiskDriver"]
