"""What the agent costs, counted instead of timed: modules, wakes, syncs, and memory beside a bare interpreter's."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hms_svc.connection import PONG, Connection
from tests.conditions import need
from tests.svc.test_other_makes import PARTS, hidden

from .rig import Acks, Agent, Control, readable, until

# Each of these was found to cost memory or start-up in every pod, and none is needed.
HEAVY = """
    argparse asyncio base64 concurrent contextvars copy dataclasses datetime decimal difflib email encodings.idna
    encodings.punycode glob hashlib heapq hiredis html http inspect ipaddress locale logging multiprocessing
    nacl.bindings nacl.signing pathlib pickle platform pprint queue random redis shlex shutil ssl statistics string
    stringprep subprocess tempfile textwrap threading tokenize traceback typing unicodedata urllib uuid weakref
    yaml.constructor yaml.reader yaml.resolver zipfile
"""
SYNCS_BEFORE_THE_SIGNAL = 4  # file and directory, of the journal and of conf.yml: benchmarks/by_hand.py has as many


@pytest.fixture
def imports(agent: Agent, control: Control, acks: Acks) -> list[str]:
    """The modules a working agent has loaded, in the order in which that ended."""
    control.put(1, {"rate_limit_rps": 200})
    # Without `site`, which loads what development installs need.
    agent.environment["PYTHONPATH"] += os.pathsep + str(Path(yaml.__file__).parents[1])
    command = [sys.executable, "-S", "-X", "importtime", "-m", "hms_svc"]
    agent.command = lambda *arguments: [*command, *arguments]  # type: ignore[method-assign]
    agent.start()
    acks.wait_active(1)
    agent.stop()
    return re.findall(r"^import time:.*\|\s*(\S+)$", agent.log_path.read_text(), re.MULTILINE)


def test_a_working_agent_loads_nothing_heavy(imports: list[str]) -> None:
    heavy = set(HEAVY.split())
    assert "hms_svc.agent" in imports
    assert "yaml._yaml" in imports
    mine = imports[imports.index("hms_svc") :]  # before that comes what `-m` needs
    assert {name for name in mine if {name, name.partition(".")[0]} & heavy} == set()


def test_redis_is_dialled_before_the_costly_half_is_loaded(imports: list[str]) -> None:
    dialled = imports.index("hms_svc.link")
    for name in ("nacl._sodium", "yaml._yaml", "hms_svc.wire", "hms_svc.applier", "hms_svc.agent"):
        assert imports.index(name) > dialled


def test_an_idle_agent_wakes_less_than_once_a_second_and_says_nothing(
    agent: Agent, control: Control, acks: Acks
) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    time.sleep(1)
    wakes, said = wakes_of(agent.pid), agent.log_path.read_text()
    time.sleep(6)
    # Five ticks; a report every 5 s and the snapshot every 10 to 15 s ride on one, each with an answer to wait for.
    assert wakes_of(agent.pid) - wakes <= 5 + 2 + 1
    assert agent.log_path.read_text() == said


def test_a_tick_of_an_idle_agent_makes_five_system_calls(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path
) -> None:
    """The last PING's answer, the next PING, a look at each of two files, and sleep."""
    agent = new_agent(HMS_BAKE="1")
    control.put(1, {"rate_limit_rps": 200})
    agent.start()
    acks.wait_active(1)
    time.sleep(3)  # until the bake is over the process is looked after each second
    trace = tmp_path / "trace"
    strace = subprocess.Popen(["strace", "-o", str(trace), "-p", str(agent.pid)])
    time.sleep(8)
    strace.terminate()
    strace.wait()
    names = re.findall(r"^(\w+)\(", trace.read_text(), re.MULTILINE)
    assert " ".join(names).count("poll recvfrom sendto newfstatat newfstatat poll") >= 2, names
    # Beside 7 ticks: two reports and a snapshot, each with an answer to wait for.
    assert len(names) <= 7 * 5 + 3 * 8, names


def wakes_of(pid: int) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_it_is_small_beside_a_bare_interpreter(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bare:
        try:
            time.sleep(0.5)
            ours, floor = memory_of(agent.pid), memory_of(bare.pid)
        finally:
            bare.kill()
    assert ours["Rss"] <= 2.2 * floor["Rss"]
    assert ours["Private_Dirty"] <= 3 * floor["Private_Dirty"]


def memory_of(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


@pytest.fixture
def before_the_signal(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path, hups: list[int]
) -> list[str]:
    """The system calls between a delta and the signal it leads to, with the files they are about."""
    need("strace")
    pidfile = tmp_path / "served.pid"
    pidfile.write_text(str(os.getpid()))
    agent = new_agent(HMS_PIDFILE=str(pidfile))
    control.put(1, {"rate_limit_rps": 200})
    agent.start()
    acks.wait_active(1)
    trace = tmp_path / "trace"
    strace = subprocess.Popen(["strace", "-f", "-y", "-s", "64", "-o", str(trace), "-p", str(agent.pid)])
    until(lambda: trace.exists() and trace.read_text(), "strace to be at work")
    for limit in (250, 300):  # what the first left open may be closed while the second is waited for
        hups.clear()
        control.put(1, {"rate_limit_rps": limit})
        until(lambda: hups, "the signal")
        until(lambda: agent.events("effective")[-1]["revision"] == control.revision, "the change in effect")
    strace.terminate()
    strace.wait()
    lines = trace.read_text().splitlines()
    told, signalled = ([at for at, line in enumerate(lines) if word in line][-1] for word in ("nmessage", "SIGHUP"))
    return lines[told:signalled]


def test_a_delta_is_synced_four_times_before_the_signal_and_no_more(before_the_signal: list[str]) -> None:
    syncs = [line for line in before_the_signal if re.search(r" \w*sync\w*\(", line)]
    assert len(syncs) == SYNCS_BEFORE_THE_SIGNAL, syncs


def test_the_process_is_told_before_replaced_files_are_deleted_and_ours_is_read_again(
    before_the_signal: list[str],
) -> None:
    """Closing a file without a name deletes it, which takes as long as all else about the rename."""
    renames = [at for at, line in enumerate(before_the_signal) if " rename(" in line]
    for at in renames:
        replaced = before_the_signal[at].split('"')[3]
        opened = [line for line in before_the_signal[:at] if f'"{replaced}"' in line and "open" in line]
        held = {line.rpartition(" = ")[2] for line in opened}
        closed = {line.partition("close(")[2].partition(")")[0] for line in before_the_signal[at:] if " close(" in line}
        assert held - closed, f"the rename over {replaced} deletes a file"
    assert not [line for line in before_the_signal if " close(" in line and "(deleted)" in line]
    assert not [line for line in before_the_signal[renames[-1] :] if " openat(" in line and "conf.yml" in line]


@pytest.fixture
def hups() -> Iterator[list[int]]:
    """The served process is this one; here are the signals it got."""
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGHUP, before)


def test_the_answer_to_a_ping_wakes_nobody_but_the_end_of_a_message_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        connection = Connection(ours)
        assert connection.receive(10) == ([], False)
        connection.doze()
        theirs.sendall(PONG)
        assert not readable(ours, 0.2)
        message = b"*3\r\n$7\r\nmessage\r\n$9\r\ncfg::IACB\r\n$40\r\n" + 40 * b"x" + b"\r\n"
        theirs.sendall(message[:-5])
        assert readable(ours, 5)
        assert connection.receive(10) == ([[b"pong", b""]], False)
        connection.doze()
        theirs.sendall(message[-5:])
        assert readable(ours, 5)
        assert connection.receive(10) == ([[b"message", b"cfg::IACB", 40 * b"x"]], False)
        connection.doze()
        theirs.close()
        assert readable(ours, 5)


READ = """
import sys
from hms_svc import libyaml
if "lean" in sys.argv[1:]:
    libyaml.load()
fill = libyaml._fill
def missing(package):
    if "late" in sys.argv[1:]:
        fill(package)
    raise AttributeError("a PyYAML of another make")
if "strange" in sys.argv[1:]:
    libyaml._fill = missing
    libyaml.load()
if "wants more" in sys.argv[1:]:
    del libyaml._ERRORS["scanner"]
    libyaml.load()
if "renamed" in sys.argv[1:]:
    import yaml
    sys.modules["yaml._yaml"] = None
from hms_svc import yaml_tree
texts = ["a: [1\\nb: }", "a: \\x01", "a: &x 1", "'a", "a: 1\\n b: 2", "\\ta: 1", "a: \\ufffe"]
for text in [*texts, "a: {b: [1, 'x', ~]}"]:
    try:
        print(yaml_tree.load(text))
    except yaml_tree.YamlError as error:
        print(error)
print("yaml.reader" in sys.modules)
"""


def test_the_binding_alone_reads_and_complains_as_all_of_pyyaml_does() -> None:
    lean, whole = read_in_a_process("lean"), read_in_a_process("whole")
    assert (lean[-1], whole[-1]) == ("False", "True")
    assert lean[:-1] == whole[:-1]
    assert len(set(whole)) == 8


@pytest.mark.parametrize("how", [("strange",), ("strange", "late"), ("wants more",), ("renamed",)])
def test_with_a_pyyaml_of_another_make_all_of_it_is_loaded(how: tuple[str, ...]) -> None:
    assert read_in_a_process(*how) == read_in_a_process("whole")


def test_with_libraries_of_another_make_it_is_heavier_and_works(agent: Agent, control: Control, acks: Acks) -> None:
    code = hidden(*PARTS) + "from hms_svc.__main__ import main\nmain(['run'])"
    agent.command = lambda *_: [sys.executable, "-c", code]  # type: ignore[method-assign]
    agent.start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200}, end=time.time() + 2 * agent.a_second())
    acks.wait_active(1)
    assert "rate_limit_rps: 200   # requests per second" in agent.conf.read_text()
    acks.wait_active()
    assert "rate_limit_rps: 50   # requests per second" in agent.conf.read_text()
    assert agent.stop() == 0
    assert agent.events("error") == agent.events("refused") == []


def read_in_a_process(*words: str) -> list[str]:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", READ, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": root})
    return done.stdout.splitlines()
