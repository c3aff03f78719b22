"""What a pool's keys mean to the cloud driver, in all three spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.config.clouds import cloud_settings
from holdfast.config.read import read_document
from holdfast.config.vocabulary_remote import REMOTE_KEYS
from holdfast.drivers.cloud import CloudSettings
from holdfast.errors import ConfigError

MIB = 1024 * 1024


@pytest.fixture
def settings(tmp_path: Path):
    def read(text: str, name: str = "holdfast.yml") -> CloudSettings:
        (tmp_path / name).write_text(text, encoding="utf-8")
        config = read_document(Path(name), environ={}, state=tmp_path, cwd=tmp_path)
        [pool] = config.pools()
        return cloud_settings(pool)

    return read


def one(type_name: str, *blocks: str) -> str:
    return f"pools:\n  a:\n    type: {type_name}\n" + "".join(f"    {block}\n" for block in blocks)


OWN, XML, YML = "holdfast.yml", "object_store_conf.xml", "object_store_conf.yml"
KEYS = "auth: {access_key: k, secret_key: s}"
BUCKET = "bucket: {name: b}"


def test_the_tutorials_pool(settings):
    """2021's XML, word for word, and what it means in the other spellings."""
    xml = """<object_store type="swift" id="a"><auth access_key="k" secret_key="s"/>
        <bucket name="b" use_reduced_redundancy="False" max_chunk_size="250"/>
        <connection host="127.0.0.1" port="9091" is_secure="False" conn_path="" multipart="True"/>
        <cache path="c" size="1000"/><extra_dir type="job_work" path="j"/></object_store>"""
    yml = (
        "type: swift\nid: a\nauth: {access_key: k, secret_key: s}\n"
        "bucket: {name: b, use_reduced_redundancy: false, max_chunk_size: 250}\n"
        "connection: {host: 127.0.0.1, port: 9091, is_secure: false, conn_path: '', multipart: true}\n"
    )
    own = one(
        "generic_s3", KEYS, BUCKET, "connection: {host: 127.0.0.1, port: 9091, is_secure: false, conn_path: ''}"
    )
    expected = CloudSettings(
        "s3", "b", endpoint="http://127.0.0.1:9091", access_key="k", secret_key="s", multipart=True
    )
    for text, name in ((xml, XML), (yml, YML), (own, OWN)):
        assert settings(text, name) == expected, name


@pytest.mark.parametrize(
    ("connection", "endpoint", "region"),
    [
        ("{host: s3.example.org}", "https://s3.example.org:6000", None),
        ("{host: s3.example.org, port: 443}", "https://s3.example.org", None),
        ("{host: S3.Example.org, port: 80, is_secure: false}", "http://s3.example.org", None),
        ("{host: h, port: 8080, conn_path: /services/s3/}", "https://h:8080/services/s3", None),
        ("{host: '::1', port: 9000, is_secure: false}", "http://[::1]:9000", None),
        ("{host: s3.eu-north-1.amazonaws.com}", None, "eu-north-1"),
        ("{host: s3-eu-west-1.amazonaws.com, region: x}", None, "x"),
        ("{host: s3.amazonaws.com}", None, None),
    ],
)
@pytest.mark.parametrize("type_name", ["generic_s3", "aws_s3", "boto3"])
def test_where_it_is(settings, type_name: str, connection: str, endpoint: str | None, region: str | None):
    found = settings(one(type_name, BUCKET, f"connection: {connection}"))
    assert (found.endpoint, found.region) == (endpoint, region)


def test_boto3_with_an_address_of_its_own(settings):
    found = settings(one("boto3", BUCKET, "connection: {endpoint_url: 'https://S3.example.org:443/x/', region: r}"))
    assert (found.endpoint, found.region) == ("https://s3.example.org/x", "r")
    assert settings(one("boto3", BUCKET)).endpoint is None


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ("{}", {"part_bytes": 16 * MIB, "multipart_from_bytes": 16 * MIB, "put_parts_at_once": 4}),
        ("{multipart_threshold: 1000}", {"multipart_from_bytes": 1000}),
        ("{multipart_threshold: 1000, upload_multipart_threshold: 2000}", {"multipart_from_bytes": 2000}),
        ("{multipart_threshold: 900000000}", {"multipart_from_bytes": 64 * MIB}),
        ("{multipart_chunksize: 6291456}", {"part_bytes": 6 * MIB, "read_part_bytes": 6 * MIB}),
        ("{multipart_chunksize: 1}", {"part_bytes": 5 * MIB, "read_part_bytes": 5 * MIB}),
        ("{upload_multipart_chunksize: 33554432}", {"part_bytes": 32 * MIB, "read_part_bytes": 8 * MIB}),
        ("{max_concurrency: 2}", {"put_parts_at_once": 2, "read_parts_at_once": 2}),
        ("{upload_max_concurrency: 7, max_concurrency: 1}", {"put_parts_at_once": 7, "read_parts_at_once": 1}),
        ("{use_threads: false, max_concurrency: 9}", {"put_parts_at_once": 1, "read_parts_at_once": 1}),
        ("{download_use_threads: false}", {"put_parts_at_once": 4, "read_parts_at_once": 1}),
        ("{max_concurrency: 1000}", {"put_parts_at_once": 32, "read_parts_at_once": 7}),
    ],
)
def test_transfer_options(settings, transfer: str, expected: dict[str, Any]):
    found = settings(one("boto3", BUCKET, f"transfer: {transfer}"))
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.read_part_bytes * (found.read_parts_at_once + 1) <= 64 * MIB
    assert found.part_bytes * found.parts_at_once_for(found.part_bytes) <= 64 * MIB


def test_chunks_of_the_old_types(settings):
    for chunk, part in (("250", 16), ("8", 8), ("1", 5)):
        text = f"type: s3\nid: a\nbucket: {{name: b, max_chunk_size: {chunk}}}\nconnection: {{host: h}}\n"
        assert settings(text, YML).part_bytes == part * MIB
    whole = settings(one("generic_s3", BUCKET, "connection: {host: h, multipart: false}"))
    assert (whole.multipart, whole.single_put_bytes_max) == (False, 64 * MIB)


def test_storage_classes(settings):
    for type_name in ("aws_s3", "generic_s3"):
        given = "bucket: {name: b, use_reduced_redundancy: true}"
        assert settings(one(type_name, given, "connection: {host: h}")).storage_class == "REDUCED_REDUNDANCY"
    assert settings(one("boto3", "bucket: {name: b, storage_class: GLACIER_IR}")).storage_class == "GLACIER_IR"
    assert settings(one("boto3", BUCKET)).storage_class is None


def test_azure(settings):
    xml = """<object_store type="azure_blob" id="a"><auth account_name="us" account_key="k" account_url="https://u.x/"/>
        <container name="c" max_chunk_size="250"/><transfer max_single_put_size="9" max_block_size="7000000"
        download_max_concurrency="2"/><cache path="c" size="1"/><extra_dir type="temp" path="t"/></object_store>"""
    expected = CloudSettings(
        "azure", "c", endpoint="https://u.x", account_name="us", account_key="k",
        multipart_from_bytes=9, part_bytes=7_000_000, read_parts_at_once=2,
    )  # fmt: skip
    assert settings(xml, XML) == expected


def test_clouds_by_provider(settings):
    aws = settings(
        one(
            "cloud", "provider: aws", "auth: {access_key: k, secret_key: s, session_token: t, region: r}", BUCKET,
            "connection: {endpoint_url: 'https://h', validate_certs: false}",
        )
    )  # fmt: skip
    assert aws == CloudSettings(
        "s3", "b", endpoint="https://h", region="r", access_key="k", secret_key="s", session_token="t",
        validate_certs=False,
    )  # fmt: skip
    auth = "auth: {storage_account: u, subscription_id: x, client_id: i, secret: s, tenant: t}"
    azure = settings(one("cloud", "provider: azure", auth, BUCKET))
    assert azure == CloudSettings(
        "azure", "b", account_name="u", client_id="i", client_secret="s", tenant_id="t"
    )
    google = settings(one("cloud", "provider: google", "auth: {credentials_file: /g.json}", BUCKET))
    assert google == CloudSettings("google", "b", credentials_file="/g.json")


def test_keys_from_the_environment_or_a_file(settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_KEY", "from-there")
    found = settings(one("boto3", "auth: {access_key: env:SOME_KEY, secret_key: s}", BUCKET))
    assert found.access_key == "from-there"
    assert settings(one("boto3", BUCKET)).access_key is None
    profile = settings(one("boto3", "auth: {credentials_file: /c, profile: p}", BUCKET))
    assert (profile.credentials_file, profile.profile) == ("/c", "p")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one("boto3", "auth: {access_key: k}", BUCKET), "no secret_key"),
        (one("boto3", "auth: {secret_key: k}", BUCKET), "no access_key"),
        (one("boto3", "auth: {access_key: env:HOLDFAST_NOT_SET, secret_key: s}", BUCKET), "HOLDFAST_NOT_SET"),
        (one("generic_s3", BUCKET, "connection: {host: 'https://h/'}"), "not a host alone"),
        (one("cloud", "provider: azure", "auth: {access_token: i}", BUCKET), "no storage account"),
        (one("cloud", "provider: openstack", "auth: {application_credential_id: u}", BUCKET), "generic_s3"),
    ],
)
def test_what_cannot_be_used_is_said(settings, text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        settings(text)


def test_a_secret_does_not_print(settings):
    auth = "auth: {access_key: k, secret_key: s3cr3t, session_token: t0ken}"
    found = settings(one("cloud", "provider: aws", auth, BUCKET))
    assert "s3cr3t" not in repr(found)
    assert "t0ken" not in repr(found)


USED_ELSEWHERE = {"cache", "limits", "retry", "direct_download"}  # by the registry
OTHERS = {"username", "password", "project_name", "auth_url", "user_domain_name", "project_domain_name",
          "application_credential_id", "application_credential_secret"}  # fmt: skip - openstack's, which is refused


@pytest.mark.parametrize("type_name", ["aws_s3", "generic_s3", "boto3", "azure_blob", "cloud"])
def test_every_key_is_used_or_said_to_have_no_effect(type_name: str):
    """The keys that the reader asks for are those of the table."""
    source = Path(__file__).parents[3].joinpath("src/holdfast/config/clouds.py").read_text(encoding="utf-8")
    for key in REMOTE_KEYS[type_name]:
        block, _, name = key.name.rpartition(".")
        if key.no_effect or key.name.partition(".")[0] in USED_ELSEWHERE or name in OTHERS:
            continue
        plain = name.removeprefix("upload_").removeprefix("download_")
        assert f'"{key.name}"' in source or (block == "transfer" and plain in source), key.name
