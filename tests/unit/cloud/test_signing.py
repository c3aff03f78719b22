"""Amazon's own example, and what botocore signs."""

from __future__ import annotations

from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from holdfast.drivers.cloud.signing import AwsKeys, Signer, canonical_query, disposition, encoded_path

EXAMPLE = AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MAY_24_2013 = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp() * 1e6)


def test_amazons_example_of_a_signed_address():
    """docs: Authenticating Requests: Using Query Parameters (AWS Signature Version 4)."""
    url = Signer(EXAMPLE, "us-east-1", MAY_24_2013).signed_url(
        "GET", "https://examplebucket.s3.amazonaws.com/test.txt", {}, 86400
    )
    assert url.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_amazons_example_of_signed_headers():
    """docs: Signature Calculations for the Authorization Header, `GET Bucket (List Objects)`."""
    headers = Signer(EXAMPLE, "us-east-1", MAY_24_2013).signed_headers(
        "GET", "https://examplebucket.s3.amazonaws.com/", {"max-keys": "2", "prefix": "J"}, {}
    )
    assert headers["authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


@pytest.mark.parametrize("token", [None, "a/token+with=signs"])
@pytest.mark.parametrize("key", ["000/dataset_24.dat", "a b+c=d&e", "Grüße/日本語", "~root/'quoted'", "back\\slash"])
def test_as_botocore_signs(key: str, token: str | None, monkeypatch: pytest.MonkeyPatch):
    now = datetime(2026, 11, 22, 18, 30, 5, tzinfo=UTC)
    for name in ("get_current_datetime", "get_current_datetime_utc"):
        monkeypatch.setattr(botocore.auth, name, lambda **_: now.replace(tzinfo=None), raising=False)
    keys = AwsKeys("AK", "s/k+", token)
    url = f"http://127.0.0.1:9000/bucket/{encoded_path(key)}"
    query = {"response-content-disposition": disposition('reads "ü".fastq')}
    ours = Signer(keys, "eu-north-1", int(now.timestamp() * 1e6)).signed_url("GET", url, query, 600)
    request = AWSRequest("GET", f"{url}?{canonical_query(query)}")
    credentials = Credentials(keys.access_key, keys.secret_key, token)
    botocore.auth.S3SigV4QueryAuth(credentials, "s3", "eu-north-1", expires=600).add_auth(request)
    assert ours.rpartition("=")[2] == request.url.rpartition("=")[2], "the signatures are equal"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("reads.fastq", 'attachment; filename="reads.fastq"'),
        ('a"b\\c;d%', "attachment; filename=\"a_b_c_d_\"; filename*=UTF-8''a%22b%5Cc%3Bd%25"),
        ("Grüße.txt", "attachment; filename=\"Gr__e.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt"),
        ("two\r\nlines", 'attachment; filename="twolines"'),
    ],
)
def test_dispositions(name: str, header: str):
    assert disposition(name) == header
