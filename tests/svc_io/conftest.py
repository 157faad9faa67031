"""Real servers for the agent's tests, each test with its own."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_svc.settings import Settings, read

from .makers import Hands
from .rig import Acks, Agent, Control, Nginx, Redis

# A run under nohup hands down an ignored SIGHUP, which none of the served processes expects.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(tmp_path / "nginx")
    yield server
    server.stop()


@pytest.fixture
def control(redis_server: Redis) -> Control:
    return Control(redis_server.client)


@pytest.fixture
def acks(redis_server: Redis) -> Acks:
    return Acks(redis_server.client)


@pytest.fixture
def new_agent(tmp_path: Path, control: Control, redis_server: Redis) -> Iterator[Callable[..., Agent]]:
    """Builds agents that are gone after the test."""
    made: list[Agent] = []

    def build(**settings: str) -> Agent:
        agent = Agent(tmp_path / f"agent{len(made)}", control, redis_server.url, **settings)
        made.append(agent)
        return agent

    yield build
    for agent in made:
        agent.cleanup()
        sys.stdout.write(agent.log_path.read_text())  # pytest shows it when the test failed


@pytest.fixture
def agent(new_agent: Callable[..., Agent]) -> Agent:
    """An agent that has nothing to reload."""
    return new_agent()


@pytest.fixture
def nginx_agent(new_agent: Callable[..., Agent], nginx: Nginx) -> Agent:
    """An agent beside nginx."""
    return new_agent(**nginx.settings())


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Settings]:
    """Settings for an agent of which only the files' side runs."""
    (tmp_path / "conf.yml").write_text("a: 1\n")
    (tmp_path / "state").mkdir()

    def build(**more: str) -> Settings:
        needed = {"TENANT": "IACB", "HMS_SERVICE": "API", "HMS_VERSION": "2.1.0", "HMS_TRUST": "-"}
        places = {"HMS_CONF": f"{tmp_path}/conf.yml", "HMS_STATE": f"{tmp_path}/state"}
        return read(needed | places | more)

    return build
