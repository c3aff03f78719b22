"""The nginx configuration of its page, in a real nginx in front of a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, fences

from holdfast.testing.servers import free_port, nginx

PAGE = DOCS / "howto" / "nginx.md"
POOLS = """
pools:
  newdata: {type: disk, files_dir: data2}
  olddata: {type: disk, files_dir: data}
placement: distributed
"""
CONTENT = b"<script>not to be run</script>\n" * 100


@pytest.mark.needs("nginx")
def test_the_pages_configuration_serves_downloads(tmp_path: Path):
    ours, its = free_port(), free_port()
    [(_, yaml)], [(_, block)] = fences(PAGE, "yaml"), fences(PAGE, "nginx")
    for name in ("data", "data2"):
        (tmp_path / name).mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and folder != Path(folder.anchor):
            os.chmod(folder, folder.stat().st_mode | 0o005)  # nginx's user has to get there
    yaml = yaml.replace("8080", str(ours)).replace("https://data.example.org", f"http://127.0.0.1:{its}")
    (tmp_path / "holdfast.yml").write_text(yaml + POOLS)
    block = block.replace("listen 443 ssl;", f"listen 127.0.0.1:{its};").replace("8080", str(ours))
    block = re.sub(r"alias /(data2?)/;", rf"alias {tmp_path}/\1/;", block)
    (tmp_path / "page.html").write_bytes(CONTENT)

    _holdfast(tmp_path, "user", "add", "alice@example.org", "--admin")
    token = json.loads(_holdfast(tmp_path, "token", "new", "alice@example.org", "--json"))["token"]
    _holdfast(tmp_path, "put", "page.html", "page.html", "--user", "alice@example.org")
    server = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "serve"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert str(ours) in server.stdout.readline()
        with nginx(block, port=its):
            for dataset in (1, 2):  # one in each pool
                request = urllib.request.Request(
                    f"http://127.0.0.1:{its}/api/datasets/{dataset}/content",
                    headers={"x-api-key": token, "Range": "bytes=0-9"},
                )
                with urllib.request.urlopen(request, timeout=20) as answer:
                    assert (answer.status, answer.read()) == (206, CONTENT[:10])
                    assert answer.headers["Server"].startswith("nginx")
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    assert "sandbox" in answer.headers["Content-Security-Policy"]
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{its}/_pools/newdata/000/dataset_1.dat", timeout=20)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        server.stdout.close()


def _holdfast(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
