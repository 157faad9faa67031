"""A fake Redis for machines without redis-server: fakeredis' TCP server, on loopback only, for trying things out.

Usage: python -m hms_mgt.local.fake_redis PORT
"""

import sys

from fakeredis import TcpFakeServer


def main(port: str) -> None:
    """Serve until the process is ended."""
    TcpFakeServer(("127.0.0.1", int(port)), server_type="redis").serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
