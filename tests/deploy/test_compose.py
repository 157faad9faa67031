"""docker-compose.yml as data: the promised services, who sees which key, how little each container may do."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {"database", "keys", "migrate", "conf"}
KEY_HOLDERS = {"gov-key": {"keys", "gov"}, "mgt-key": {"keys", "mgt-api", "mgt-worker"}}
FAKE_HMS_MGT = """#!/bin/sh
# Fake of `hms-mgt keys --out DIR`: three files with a new content on every run.
mkdir "$3"
for name in mgt.key gov.key trust.json; do echo "$name of run $$" > "$3/$name"; done
"""


def script(service: str) -> str:
    """Return the shell script of a service, as the container gets it."""
    return str(SERVICES[service]["command"][0]).replace("$$", "$")


def mounts(service: str) -> dict[str, str]:
    """Return what a service mounts: source -> target[:mode]."""
    return dict(mount.split(":", 1) for mount in SERVICES[service].get("volumes", []))


def waits(service: str) -> dict[str, str]:
    return {name: need["condition"] for name, need in SERVICES[service].get("depends_on", {}).items()}


def test_the_promised_services_are_there() -> None:
    wanted = {"postgres", "redis", "keys", "migrate", "gov", "mgt-api", "mgt-worker", "nginx", "nginx-svc"}
    assert wanted <= set(SERVICES)


def test_commands_are_the_ones_the_packages_install() -> None:
    assert SERVICES["gov"]["command"] == ["hms-gov", "serve"]
    assert SERVICES["mgt-api"]["command"] == ["hms-mgt", "api"]
    assert SERVICES["mgt-worker"]["command"] == ["hms-mgt", "worker"]
    assert SERVICES["migrate"]["command"] == ["hms-mgt", "migrate"]


def test_postgres_is_new_enough() -> None:
    version = re.match(r"postgres:(\d+)", SERVICES["postgres"]["image"])
    assert version
    assert int(version[1]) >= 15


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_confined(service: str) -> None:
    spec = SERVICES[service]
    assert spec["read_only"] is True
    assert spec["cap_drop"] == ["ALL"]
    assert "cap_add" not in spec
    assert "privileged" not in spec
    assert spec["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in spec["tmpfs"]  # noqa: S108 - a mount point inside the container
    assert spec["restart"] == ("on-failure:5" if service in ONE_SHOTS else "unless-stopped")


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_is_root(service: str) -> None:
    own_image = SERVICES[service]["image"].startswith("hms-")
    assert own_image or int(SERVICES[service]["user"].split(":")[0]) > 0


def test_each_signing_key_is_mounted_by_its_owner_only() -> None:
    for volume, holders in KEY_HOLDERS.items():
        assert {name for name in SERVICES if volume in mounts(name)} == holders
        for holder in holders - {"keys"}:
            assert mounts(holder)[volume].endswith(":ro")


def test_the_database_superuser_and_the_schemas_owner_never_reach_the_api() -> None:
    for name in ("mgt-api", "mgt-worker"):
        environment = str(SERVICES[name]["environment"])
        assert "HMS_OWNER_PASSWORD" not in environment
        assert "HMS_POSTGRES_PASSWORD" not in environment


def test_every_password_is_demanded_and_listed_empty() -> None:
    used = set(re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", TEXT))
    assert used
    assert all(rest.startswith(":?") for _, rest in used)
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == {name for name, _ in used}


def test_every_other_variable_is_optional_and_explained() -> None:
    example = (ROOT / ".env.example").read_text()
    for name, rest in set(re.findall(r"\$\{(\w+)([^}]*)\}", TEXT)):
        assert rest.startswith((":-", ":+", ":?")), name
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name


def test_services_wait_for_what_they_need() -> None:
    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits("database") == {"postgres": healthy}
    assert waits("migrate") == {"database": done}
    assert waits("gov") == {"keys": done}
    for name in ("mgt-api", "mgt-worker"):
        assert waits(name) == {"migrate": done, "keys": done, "redis": healthy, "gov": healthy}


def test_long_running_servers_have_healthchecks() -> None:
    for name in ("postgres", "redis", "gov", "mgt-api", "nginx", "nginx-svc"):
        assert SERVICES[name]["healthcheck"]["test"]


def test_the_sidecar_can_signal_the_process_it_serves() -> None:
    nginx, sidecar = SERVICES["nginx"], SERVICES["nginx-svc"]
    assert sidecar["pid"] == "service:nginx"
    assert sidecar["user"] == nginx["user"]
    # Without an init nginx would be PID 1 of the shared namespace, which a sidecar never signals.
    assert nginx["init"] is True
    assert sidecar["environment"]["HMS_PROCESS"] == "nginx"


def test_conf_is_shared_as_a_directory_and_written_by_the_sidecar_only() -> None:
    assert mounts("nginx")["conf"] == "/etc/service:ro"
    assert mounts("nginx-svc")["conf"] == "/etc/service"
    assert "conf" in COMPOSE["volumes"]


def test_the_sidecars_files_are_where_it_is_told_to_look() -> None:
    template = SERVICES["nginx-svc"]["environment"]["HMS_RENDER"].split(":")[0]
    assert (ROOT / "deploy/nginx" / Path(template).name).is_file()
    assert mounts("nginx-svc")["./deploy/nginx"] == f"{Path(template).parent}:ro"
    assert mounts("conf")["./deploy/nginx"] == "/seed:ro"


def test_the_database_and_the_governance_service_have_no_way_out() -> None:
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert SERVICES["gov"]["networks"] == ["governance"]
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert COMPOSE["networks"]["governance"]["internal"] is True
    assert {name for name in SERVICES if "ports" in SERVICES[name]} == {"mgt-api", "nginx"}


def test_redis_may_open_the_files_its_settings_need() -> None:
    wanted = re.search(r"^maxclients (\d+)$", (ROOT / "deploy/redis.conf").read_text(), re.MULTILINE)
    assert wanted
    assert SERVICES["redis"]["ulimits"]["nofile"]["hard"] >= int(wanted[1]) + 32
    assert mounts("redis")["./deploy/redis.conf"] == "/etc/redis/redis.conf:ro"


@pytest.mark.parametrize("service", ["database", "redis", "keys", "nginx"])
def test_scripts_are_shell(service: str) -> None:
    subprocess.run(["sh", "-n", "-c", script(service)], check=True)


def test_keys_go_to_their_owners_and_are_made_once(tmp_path: Path) -> None:
    for name in ("mgt", "gov", "trust", "bin"):
        (tmp_path / "keys" / name).mkdir(parents=True)
    fake = tmp_path / "keys/bin/hms-mgt"
    fake.write_text(FAKE_HMS_MGT)
    fake.chmod(0o755)
    text = script("keys").replace("/tmp/keys", f"{tmp_path}/made").replace(" /keys", f" {tmp_path}/keys")  # noqa: S108
    environment = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}

    def run() -> dict[str, str]:
        subprocess.run(["sh", "-euc", text], check=True, env=environment)
        files = sorted(path for path in (tmp_path / "keys").rglob("*.*") if path.is_file())
        return {str(path.relative_to(tmp_path / "keys")): path.read_text() for path in files}

    first = run()
    assert set(first) == {"gov/gov.key", "mgt/mgt.key", "mgt/trust.json", "trust/trust.json"}
    assert first["mgt/trust.json"] == first["trust/trust.json"]
    assert (tmp_path / "keys/mgt/mgt.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys/gov/gov.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys/trust/trust.json").stat().st_mode & 0o777 == 0o644
    assert run() == first
