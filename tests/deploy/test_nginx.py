"""The served nginx of the compose file: what the sidecar renders is taken and obeyed by real nginx."""

import http.client
import socket
import subprocess
import time
from pathlib import Path

import pytest

from hms_svc import template, yaml_tree
from tests.conditions import need

FOLDER = Path(__file__).resolve().parents[2] / "deploy/nginx"


@pytest.fixture
def _nginx() -> None:
    need("nginx")


def rendered(tmp_path: Path, port: int, **changes: int) -> Path:
    """Render the shipped template from conf.yml and `changes`, moved into `tmp_path` and to `port`."""
    values = yaml_tree.load((FOLDER / "conf.yml").read_text()) | changes
    text = template.fill_text((FOLDER / "nginx.conf.tmpl").read_text(), values)
    text = text.replace("/tmp/", f"{tmp_path}/").replace("/srv/www", str(FOLDER / "www"))  # noqa: S108
    path = tmp_path / "nginx.conf"
    path.write_text(text.replace("listen 8080", f"listen 127.0.0.1:{port}"))
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def limit_named_by(port: int) -> str | None:
    """Ask until nginx answers, and return the limit its answer names."""
    deadline = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/livez")
            answer = connection.getresponse()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            assert answer.status == 204
            return answer.getheader("X-RPS-Limit")
        finally:
            connection.close()


def test_each_gap_of_the_template_is_a_key_of_the_base() -> None:
    values = yaml_tree.load((FOLDER / "conf.yml").read_text())
    assert "{{" not in template.fill_text((FOLDER / "nginx.conf.tmpl").read_text(), values)


@pytest.mark.usefixtures("_nginx")
def test_answers_name_the_limit_they_were_given_under(tmp_path: Path) -> None:
    port = free_port()
    conf = rendered(tmp_path, port, rate_limit_rps=200)
    server = subprocess.Popen(["nginx", "-e", "stderr", "-c", conf], stderr=subprocess.DEVNULL)
    try:
        assert limit_named_by(port) == "200"
    finally:
        server.terminate()
        server.wait(10)
