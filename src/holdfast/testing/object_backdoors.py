"""The way past Holdfast into a bucket: boto3 and Azure's own client look at the store directly.

Both fulfil `store_kit.Backdoor`, so a driver's contract can take either; `client` is the library's own for what they do
not have. Safe from many threads and after a fork: a client belongs to the process that made it.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any, Self

PAGES_LIMIT = 100  # of a listing; a test's bucket with more than 100,000 names is a mistake


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket of a server that speaks S3."""

    client: Any
    name: str

    @classmethod
    def at(cls, endpoint_url: str, access_key: str, secret_key: str, region: str, bucket: str) -> Self:
        return cls(_s3_client(endpoint_url, access_key, secret_key, region, os.getpid()), bucket)

    def make(self) -> None:
        """Create the bucket."""
        self.client.create_bucket(Bucket=self.name)

    def read(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        try:
            content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return content

    def write(self, key: str, content: bytes) -> None:
        """Put bytes there, as somebody else would."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def remove(self, key: str) -> None:
        """Remove what lies there, as somebody else would."""
        self.client.delete_object(Bucket=self.name, Key=key)

    def head(self, key: str) -> dict[str, Any]:
        """What HEAD says of it, as boto3 gives it."""
        answer: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return answer

    def names(self) -> set[str]:
        """Every key, and every upload in parts that has not ended, as `KEY (unfinished UPLOAD)`."""
        unfinished = {f"{upload['Key']} (unfinished {upload['UploadId']})" for upload in self.uploads()}
        return {blob["Key"] for blob in self._all("list_objects_v2", "Contents")} | unfinished

    def uploads(self) -> list[dict[str, Any]]:
        """The uploads in parts that were begun and neither completed nor aborted, as boto3 gives them."""
        from botocore.exceptions import ClientError

        try:
            return self._all("list_multipart_uploads", "Uploads")
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":  # what rclone says where there is none
                return []
            raise

    def _all(self, call: str, field: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number, page in enumerate(self.client.get_paginator(call).paginate(Bucket=self.name)):
            if number >= PAGES_LIMIT:
                raise RuntimeError(f"{self.name} has more than {PAGES_LIMIT} pages of {call}")
            found.extend(page.get(field, []))
        return found


@dataclass(frozen=True, slots=True)
class AzureBucket:
    """A container of a server that speaks Azure Blob."""

    client: Any
    name: str

    @classmethod
    def at(cls, endpoint_url: str, access_key: str, secret_key: str, region: str, bucket: str) -> Self:
        del region  # Azure has none
        return cls(_azure_client(endpoint_url, access_key, secret_key, os.getpid()), bucket)

    def make(self) -> None:
        """Create the container."""
        self.client.create_container(self.name)

    def read(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            content: bytes = self._blob(key).download_blob().readall()
        except ResourceNotFoundError:
            return None
        return content

    def write(self, key: str, content: bytes) -> None:
        """Put bytes there, as somebody else would."""
        self._blob(key).upload_blob(content, overwrite=True)

    def remove(self, key: str) -> None:
        """Remove what lies there, as somebody else would."""
        self._blob(key).delete_blob()

    def head(self, key: str) -> dict[str, Any]:
        """The blob's properties, as Azure's client gives them."""
        return dict(self._blob(key).get_blob_properties())

    def names(self) -> set[str]:
        """Every name, and every blob of which only uncommitted blocks are there, as `KEY (unfinished)`."""
        return self._whole() | {f"{upload['Key']} (unfinished)" for upload in self.uploads()}

    def uploads(self) -> list[dict[str, Any]]:
        """The blobs of which only uncommitted blocks are there."""
        listed = self.client.get_container_client(self.name).list_blobs(include=["uncommittedblobs"])
        return [{"Key": name} for name in sorted({blob.name for blob in listed} - self._whole())]

    def _whole(self) -> set[str]:
        return {blob.name for blob in self.client.get_container_client(self.name).list_blobs()}

    def _blob(self, key: str) -> Any:
        return self.client.get_blob_client(self.name, key)


@functools.lru_cache(maxsize=32)
def _s3_client(endpoint_url: str, access_key: str, secret_key: str, region: str, process_id: int) -> Any:
    del process_id  # part of what the cache is keyed by: a connection must not cross a fork
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(
            signature_version="s3v4",  # also for addresses that are signed
            s3={"addressing_style": "path"},
            retries={"max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        ),
    )


@functools.lru_cache(maxsize=32)
def _azure_client(endpoint_url: str, account: str, account_key: str, process_id: int) -> Any:
    del process_id  # as above
    from azure.storage.blob import BlobServiceClient

    credential = {"account_name": account, "account_key": account_key}
    return BlobServiceClient(endpoint_url, credential=credential, retry_total=0)
