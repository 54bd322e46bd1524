#!/usr/bin/env python3
"""Asks HOST PORT once from each local port FIRST to LAST, one after the other; prints who answered, as a JSON list.

Connections end by RST (SO_LINGER 0), so that the same ports can be used again at once.
"""

import json
import socket
import struct
import sys


def ask(host, port, local_port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.settimeout(10)
        s.bind(("", local_port))
        s.connect((host, port))
        s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = s.makefile("rb")
        while answer.readline().strip():
            pass
        return answer.readline().decode().strip()


host, port, first, last = sys.argv[1], *map(int, sys.argv[2:5])
print(json.dumps([ask(host, port, local_port) for local_port in range(first, last + 1)]))
