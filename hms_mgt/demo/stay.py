"""`make up`: the demo system, kept running, with the first commands to paste."""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Start `hms-mgt up --demo`, print how to use it when it is ready, and stay until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="hms-data", help="where everything is kept")
    parser.add_argument("--port", default="8080", help="port of the API; 0 takes a free one")
    asked = parser.parse_args()
    ready_file = Path(asked.data) / "ready.json"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "hms_mgt", "up", "--demo", "--port", asked.port, "--data", asked.data]
    system = subprocess.Popen([*command, "--ready-file", str(ready_file)])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: system.send_signal(signal.SIGTERM))
    while system.poll() is None and not ready_file.exists():
        time.sleep(0.05)
    if ready_file.exists():
        print(_how_to(json.loads(ready_file.read_text())), flush=True)  # noqa: T201 - this is what it is for
    return system.wait()


def _how_to(ready: dict[str, object]) -> str:
    instances, tokens = ready["instances"], ready["tokens"]
    assert isinstance(instances, list)  # noqa: S101 - our own file
    assert isinstance(tokens, dict)  # noqa: S101 - our own file
    return f"""
URL    {ready["mgt_url"]}
token  {tokens["release_manager"]}   (release_manager of IACB)

Paste this in another terminal:

  export HMS_MGT_URL={ready["mgt_url"]} HMS_TOKEN={tokens["release_manager"]}
  curl -sI {instances[0]["url"]} | grep X-RPS-Limit
  curl -s --data-binary @examples/artist_registry_patch.yml -H 'Content-Type: application/yaml' \\
       -H "Authorization: Bearer $HMS_TOKEN" $HMS_MGT_URL/api/patch
  curl -s -H "Authorization: Bearer $HMS_TOKEN" $HMS_MGT_URL/api/patch?limit=1
"""


if __name__ == "__main__":
    sys.exit(main())
