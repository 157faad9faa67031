"""Fake served process: on SIGHUP it reads its files again and writes down what it then works with."""

import shutil
import subprocess
import sys
from pathlib import Path

from .rig import until

PROGRAM = """\
import os, pathlib, signal, sys, time
home, *files = map(pathlib.Path, sys.argv[1:])
def load(*_):
    text = "".join(path.read_text() if path.exists() else "" for path in files)
    (home / "new").write_text(text)
    (home / "new").rename(home / "loaded")
signal.signal(signal.SIGHUP, load)
load()
(home / "pid.new").write_text(str(os.getpid()))
(home / "pid.new").rename(home / "pid")
while True:
    time.sleep(60)
"""


class Stub:
    """A process with a pid file; it works with what it read last."""

    def __init__(self, home: Path, *files: Path) -> None:
        self.home, self.files = home, files
        home.mkdir(parents=True, exist_ok=True)
        self.pidfile = home / "pid"
        self.start()

    def start(self) -> None:
        shutil.rmtree(self.home)
        self.home.mkdir()
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(self.home), *map(str, self.files)])
        until(self.pidfile.exists, "the served process")

    def loaded(self) -> str:
        return (self.home / "loaded").read_text()

    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
