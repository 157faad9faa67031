"""The embedded default on a machine with neither nginx nor redis-server: stand-ins take their place, all else is real.

Both are hidden from the system in a mount namespace of its own, so the machine's own files are not touched.
"""

import os
import shlex
import shutil

import psutil

from .system import System


def hidden() -> list[str]:
    """Return the paths of the servers wherever `up` might find them."""
    places = {*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin", "/usr/local/sbin"}
    paths = {shutil.which(name, path=place) for name in ("nginx", "redis-server") for place in places}
    return sorted({os.path.realpath(path) for path in paths if path is not None})


def test_without_nginx_and_redis_server_a_patch_goes_from_50_to_120_and_back(new_system: System) -> None:
    system, paths = new_system, hidden()
    assert len(paths) >= 2
    covers = " && ".join(f"mount --bind /dev/null {shlex.quote(path)}" for path in paths)
    system.start("unshare", "--mount", "sh", "-c", f'{covers} && exec "$@"', "sh")

    bases = {name: seen.conf for name, seen in system.sight().items()}
    assert len(bases) == 3
    assert "hms_mgt.local.fake_redis" in system.part("fake_redis").cmdline()
    served = [psutil.Process(one.served).cmdline() for one in system.instances()]
    assert all("hms_mgt.demo.served" in command for command in served)
    assert not any("nginx" in word or "redis-server" in word for command in served for word in command)
    assert system.shows(50)

    patch_id = system.apply({"rate_limit_rps": 120})
    assert system.shows(120)
    done = system.roll_back(patch_id)
    assert done["status"] == "ROLLED_BACK"
    assert system.shows(50)
    assert {name: seen.conf for name, seen in system.sight().items()} == bases
