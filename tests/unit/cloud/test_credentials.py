"""Keys from the document, the environment, a file, a container's role; and nothing before the first use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.unit.cloud.small_s3 import SmallS3, answer

from holdfast.blobs import BytesBody
from holdfast.drivers.cloud import CloudDriver, CloudSettings
from holdfast.drivers.cloud.credentials import CredentialChain
from holdfast.errors import Unauthenticated
from holdfast.keys import Key
from holdfast.seams import SystemClock

FILE = """[default]
aws_access_key_id = fk
aws_secret_access_key = fs
[lab]
aws_access_key_id=lk
aws_secret_access_key=ls
"""


class Clock(SystemClock):
    now = 1_795_000_000_000_000

    def now_us(self) -> int:
        return self.now


def chain(environ: Mapping[str, str], **told: str) -> CredentialChain:
    away = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    return CredentialChain(CloudSettings("s3", "b", **told), Clock(), {**away, **environ})


def found(chain: CredentialChain) -> tuple[str, str, str | None] | None:
    keys = chain.keys()
    return None if keys is None else (keys.access_key, keys.secret_key, keys.session_token)


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "ek", "AWS_SECRET_ACCESS_KEY": "es", "AWS_SESSION_TOKEN": "et"}


def test_the_order(tmp_path: Path):
    file = tmp_path / "credentials"
    file.write_text(FILE)
    named = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    assert found(chain({**ENVIRONMENT, **named}, access_key="k", secret_key="s")) == ("k", "s", None)
    assert found(chain({**ENVIRONMENT, **named})) == ("ek", "es", "et")
    assert found(chain(named)) == ("fk", "fs", None)
    assert found(chain({**named, "AWS_PROFILE": "lab"})) == ("lk", "ls", None)
    assert found(chain({**ENVIRONMENT, **named}, profile="lab")) == ("lk", "ls", None)
    assert found(chain(ENVIRONMENT, credentials_file=str(file))) == ("fk", "fs", None)
    assert found(chain({})) is None
    assert found(chain(named, profile="not there")) is None


def test_a_file_is_read_again_after_a_while(tmp_path: Path):
    file = tmp_path / "credentials"
    file.write_text(FILE)
    keys = chain({"AWS_SHARED_CREDENTIALS_FILE": str(file)})
    assert found(keys) == ("fk", "fs", None)
    file.write_text(FILE.replace("fk", "newer"))
    assert found(keys) == ("fk", "fs", None)
    keys._clock.now += 1_000_000_000
    assert found(keys) == ("newer", "fs", None)


def test_a_containers_role(server: SmallS3, tmp_path: Path):
    said = {"AccessKeyId": "rk", "SecretAccessKey": "rs", "Token": "rt", "Expiration": "2030-01-01T00:00:00Z"}
    server.before = lambda asked: answer(200, json.dumps(said).encode())
    (tmp_path / "token").write_text("let me in\n")
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/role",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    keys = chain(environ)
    assert found(keys) == found(keys) == ("rk", "rs", "rt")
    assert [asked.headers.get("authorization") for asked in server.asked] == ["let me in"]
    told = keys.for_obstore()
    assert (told["token"], told["expires_at"].year) == ("rt", 2030)
    server.before = lambda asked: answer(500)
    assert found(chain(environ)) is None


def test_without_any_the_driver_says_what_to_write(server: SmallS3, monkeypatch: pytest.MonkeyPatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    driver = CloudDriver("pool", CloudSettings("s3", "b", endpoint=server.url))
    for act in (lambda: driver.put(Key("x"), BytesBody(b"x")), lambda: driver.stat(Key("x")), driver.prepare):
        with pytest.raises(Unauthenticated, match=r"auth\.access_key"):
            act()
    driver.close()
    assert server.asked == []


def test_the_environments_keys_sign(server: SmallS3, monkeypatch: pytest.MonkeyPatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    driver = CloudDriver("pool", CloudSettings("s3", "b", endpoint=server.url))
    driver.put(Key("x"), BytesBody(b"x"))
    list(driver.list())
    driver.close()
    assert all("Credential=ek/" in asked.headers["authorization"] for asked in server.asked)
    assert all(asked.headers["x-amz-security-token"] == "et" for asked in server.asked)


BUILD = """
import sys, threading
from holdfast.drivers.cloud import CloudDriver, CloudSettings
for service in ("s3", "azure", "google"):
    driver = CloudDriver("p", CloudSettings(service, "b", endpoint="http://127.0.0.1:1", account_name="a"))
    driver.expect("0a-mark")
    driver.usage()
    driver.close()
assert threading.active_count() == 1
print([name for name in ("obstore", "httpx", "asyncio") if name in sys.modules])
"""


def test_building_starts_and_imports_nothing():
    done = subprocess.run([sys.executable, "-c", BUILD], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
