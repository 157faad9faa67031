"""The floor of a sidecar in speed: what a delta costs to apply when nothing is done that need not be.

It believes everybody, knows no windows and no versions, keeps no comments, checks nothing, tells nobody, and survives
nothing. But it stores what it heard before it changes the file, and both with the syncs that make them last: as
many as the sidecar needs. With `verify` it checks both signatures as well.

    by_hand.py PORT CHANNEL CONF JOURNAL PIDFILE [GOV MGT]        the keys in hex
"""

import base64
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import hiredis
import yaml

Keys = tuple[Any, Any] | None


def main(port: str, channel: str, conf: str, journal: str, pidfile: str, *keys: str) -> None:
    """Subscribe and apply what comes."""
    sock, reader, pinned = socket.create_connection(("127.0.0.1", int(port))), hiredis.Reader(), _keys(*keys)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n" % (len(channel), channel.encode()))
    while data := sock.recv(65536):
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            if reply[0] == b"message":
                apply(reply[2], conf, journal, pinned)
                os.kill(int(Path(pidfile).read_text()), signal.SIGHUP)


def apply(raw: bytes, conf: str, journal: str, keys: Keys) -> None:
    """Store the message, and put its changes into the file."""
    message = opened(json.loads(raw), keys and keys[1])
    decisions = [opened(entry["decision"], keys and keys[0]) for entry in message["patches"]]
    write(journal, json.dumps(message))
    document = yaml.load(Path(conf).read_text(), Loader=yaml.CSafeLoader)
    for decision in decisions:
        document.update(decision["changes"])
    write(conf, yaml.dump(document, Dumper=yaml.CSafeDumper))


def opened(envelope: dict[str, Any], key: Any) -> dict[str, Any]:
    """What an envelope holds."""
    body = base64.b64decode(envelope["payload"])
    if key is not None:
        kind = envelope["payloadType"].encode()
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        key.verify(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body), signature)
    payload: dict[str, Any] = json.loads(body)
    return payload


def write(path: str, text: str) -> None:
    """Replace a file so that it lasts: two syncs."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, text.encode())
    os.fsync(fd)
    os.close(fd)
    os.rename(path + ".new", path)  # noqa: PTH104 - by hand
    directory = os.open(os.path.dirname(path), os.O_RDONLY)  # noqa: PTH120 - as above
    os.fsync(directory)
    os.close(directory)


def _keys(gov: str = "", mgt: str = "") -> Keys:
    if not gov:
        return None
    from nacl.signing import VerifyKey  # noqa: PLC0415 - only where it is used

    return VerifyKey(bytes.fromhex(gov)), VerifyKey(bytes.fromhex(mgt))


if __name__ == "__main__":
    main(*sys.argv[1:])
