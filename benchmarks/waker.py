"""The floor of a watchdog: asks Redis for a PONG once a second, and does nothing else."""

import gc
import socket
import sys
import time

sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
gc.freeze()
while True:
    sock.sendall(b"*1\r\n$4\r\nPING\r\n")
    sock.recv(100)
    time.sleep(1)
