"""A pool that is a bucket: S3 and everything that speaks it, Azure Blob, Google."""

from holdfast.drivers.cloud.driver import CloudDriver
from holdfast.drivers.cloud.mark import MARK_NAME
from holdfast.drivers.cloud.settings import CloudSettings

__all__ = ["MARK_NAME", "CloudDriver", "CloudSettings"]
