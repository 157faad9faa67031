"""What the local orchestrator serves: nginx where it is installed, else a small process that does the same.

Both send `X-RPS-Limit` and enforce the limit of conf.yml; both take SIGHUP. The texts below have two kinds of
gaps: `$name` is filled here, once, when the instance is made; `{{name}}` by the sidecar, at every change.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

_NGINX = Template("""\
# Rendered by the sidecar from nginx.conf.tmpl and conf.yml; edits here are overwritten.
$user
worker_processes 1;
daemon off;
pid $home/served.pid;
error_log $home/served.log {{logging.level}};
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $home/tmp;
    proxy_temp_path $home/tmp;
    fastcgi_temp_path $home/tmp;
    uwsgi_temp_path $home/tmp;
    scgi_temp_path $home/tmp;
    default_type application/json;
    limit_req_zone $$binary_remote_addr zone=clients:1m rate={{rate_limit_rps}}r/s;
    limit_req_status 429;
    server {
        listen 127.0.0.1:$port;
        root $home/www;
        add_header X-RPS-Limit {{rate_limit_rps}} always;
        limit_req zone=clients burst=20 nodelay;
        location / { try_files /index.json =404; }
    }
}
""")


class Served(NamedTuple):
    """How to run the served process of one instance: files to lay out, its command, the sidecar's settings."""

    files: Mapping[str, str]
    command: tuple[str, ...]
    # A file the sidecar renders that must be there before the process starts.
    rendered: Path | None
    sidecar: Mapping[str, str]


def served(home: Path, port: int) -> Served:
    """Describe the served process of the instance that lives in `home`."""
    nginx = find_nginx()
    return _small(home, port) if nginx is None else _nginx(nginx, home, port)


def find_nginx() -> str | None:
    """Find nginx, also where an ordinary user's PATH does not reach."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def _nginx(binary: str, home: Path, port: int) -> Served:
    conf = home / "conf"
    # As root nginx would hand its workers to another user, who cannot read a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    rendered = conf / "nginx.conf"
    return Served(
        files={"conf/nginx.conf.tmpl": _NGINX.substitute(home=home, port=port, user=user), **_page()},
        command=(binary, "-e", "stderr", "-p", str(home), "-c", str(rendered)),
        rendered=rendered,
        sidecar={
            "HMS_RENDER": f"{conf}/nginx.conf.tmpl:{rendered}",
            "HMS_CHECK": f"{binary} -e stderr -t -q -p {home} -c {{rendered}}",
            "HMS_PIDFILE": str(home / "served.pid"),
            "HMS_PROCESS": "nginx",
            **_probe(port),
        },
    )


def _small(home: Path, port: int) -> Served:
    conf = home / "conf" / "conf.yml"
    command = (sys.executable, "-m", "hms_mgt.demo.served", str(conf), str(port), str(home / "served.pid"))
    return Served(
        files={},
        command=command,
        rendered=None,
        sidecar={"HMS_PIDFILE": str(home / "served.pid"), **_probe(port)},
    )


def _page() -> Mapping[str, str]:
    return {"www/index.json": '{"service": "up"}\n', "tmp/.keep": ""}


def _probe(port: int) -> Mapping[str, str]:
    return {
        "HMS_PROBE_URL": f"http://127.0.0.1:{port}/",
        "HMS_PROBE_HEADER": "X-RPS-Limit: {{rate_limit_rps}}",
        "HMS_URL": f"http://127.0.0.1:{port}/",
    }
