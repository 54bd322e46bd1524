#!/usr/bin/env python3
"""Datagrams to HOST:PORT from --sockets ports in turn, --rate a second in all, for --seconds or until SIGTERM; the far end echoes.

{"sent": 5000, "answered": 5000, "lost": [t, ...]}: t is when a datagram was sent that has no answer, in seconds since 1970.
"""

import argparse
import json
import selectors
import signal
import socket
import time

LINGER_S = 0.5  # for the last answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    host, port = args.target.rsplit(":", 1)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    selector = selectors.DefaultSelector()
    sockets = []
    for _ in range(args.sockets):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect((host, int(port)))
        selector.register(sock, selectors.EVENT_READ)
        sockets.append(sock)
    sent = {}
    n = 0

    def receive(timeout):
        for key, _ in selector.select(timeout):
            try:
                sent.pop(int(key.fileobj.recv(2048).split()[-1]), None)
            except (OSError, ValueError, IndexError):  # refused, or nobody's
                pass

    print("ready", flush=True)
    began = time.monotonic()
    while not ended and time.monotonic() - began < args.seconds:
        due = began + n / args.rate
        if (wait := due - time.monotonic()) > 0:
            receive(wait)
            continue
        sent[n] = time.time()
        try:
            sockets[n % args.sockets].send(str(n).encode())
        except OSError:  # an ICMP error about an earlier one
            pass
        n += 1
        receive(0)
    linger = time.monotonic() + LINGER_S
    while sent and time.monotonic() < linger:
        receive(0.05)
    print(json.dumps({"sent": n, "answered": n - len(sent), "lost": sorted(sent.values())}))


main()
