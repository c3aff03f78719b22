"""Behind a real nginx: it sends the bytes that we allow, and nothing else; forms and cookies work through it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.api.served import ALICE, PASSWORD, Served, add_people, make_hold, running

from holdfast.server.settings import ServerSettings
from holdfast.testing.servers import Server, free_port

pytestmark = pytest.mark.needs("nginx")


def block(port: int, served: Served, folder: Path) -> str:
    return f"""
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {served.url};
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
    location /internal/newdata/ {{ internal; alias {folder}/newdata/; }}
  }}
"""


@pytest.fixture
def settings() -> ServerSettings:
    return ServerSettings(
        direct="x-accel",
        x_accel_prefix={"newdata": "/internal/newdata/"},
        trusted_proxies=frozenset({"127.0.0.1"}),
    )


def test_nginx_sends_the_bytes(tmp_path: Path, nginx: Callable[..., Server], settings: ServerSettings):
    content = random.Random(1).randbytes(2_000_000)
    port = free_port()
    with make_hold(tmp_path) as hold, running(hold, tmp_path, settings) as served:
        add_people(served)
        front = nginx(block(port, served, tmp_path), port=port).url
        headers = {"x-api-key": served.token(ALICE)}
        with httpx.Client(base_url=front, headers=headers, timeout=30) as client:
            made = client.post("/api/datasets", params={"name": "ü 1.bam"}, content=content).json()
            path = f"/api/datasets/{made['id']}/content"
            whole = client.get(path)
            assert whole.content == content
            assert "x-accel-redirect" not in whole.headers
            assert whole.headers["content-type"] == "application/octet-stream"
            assert whole.headers["content-disposition"].endswith("filename*=UTF-8''%C3%BC%201.bam")
            part = client.get(path, headers={"Range": "bytes=100-199"})
            assert (part.status_code, part.content) == (206, content[100:200])
            # in a pool that nginx was not told about, the bytes come from us
            other = client.post("/api/datasets?name=b&pool=olddata", content=content).json()["id"]
            assert client.get(f"/api/datasets/{other}/content").content == content
        # nobody gets them without us
        assert httpx.get(front + "/internal/newdata/000/dataset_1.dat").status_code == 404
        assert httpx.get(front + path).status_code == 401


def test_sign_in_and_forms_through_a_proxy(tmp_path: Path, nginx: Callable[..., Server], settings: ServerSettings):
    port = free_port()
    with make_hold(tmp_path) as hold, running(hold, tmp_path, settings) as served:
        add_people(served)
        front = nginx(block(port, served, tmp_path), port=port).url
        with httpx.Client(base_url=front, headers={"Origin": front}, timeout=30) as browser:
            answer = browser.post("/sign-in", data={"email": ALICE, "password": PASSWORD})
            assert answer.status_code == 303
            assert browser.get("/api/whoami").json()["email"] == ALICE
            evil = browser.post("/sign-out", headers={"Origin": served.url})
            assert evil.status_code == 403
