#!/usr/bin/env python3
"""Transfers from inside a client, each of which prints one JSON object.

  upload HOST:PORT FILE        to a tcp-sink: {"sent": sha256, "received": sha256 as the server saw it}
  echo HOST:PORT BYTES         to a tcp-echo, both ways at once: {"sent": sha256, "received": sha256}
  udp HOST:PORT FLOWS ROUNDS   to a udp-echo: FLOWS sockets, ROUNDS datagrams each, of growing size;
                               {"answers": {NAME: n}, "lost": n, "wrong": n, "changed_server": n}
"""

import collections
import hashlib
import json
import random
import socket
import sys
import threading

TIMEOUT_S = 60
UDP_TIMEOUT_S = 2


def connect(target):
    host, port = target.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def upload(target, path):
    digest = hashlib.sha256()
    with connect(target) as server, open(path, "rb") as file:
        while data := file.read(1 << 18):
            digest.update(data)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)
        received = b""
        while data := server.recv(4096):
            received += data
    return {"sent": digest.hexdigest(), "received": received.decode().strip()}


def echo(target, size):
    data = random.Random(size).randbytes(size)
    received = hashlib.sha256()
    with connect(target) as server:
        def send():
            server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        while part := server.recv(1 << 18):
            received.update(part)
        sender.join()
    return {"sent": hashlib.sha256(data).hexdigest(), "received": received.hexdigest()}


def udp(target, flows, rounds):
    host, port = target.rsplit(":", 1)
    outcome = {"answers": collections.Counter(), "lost": 0, "wrong": 0, "changed_server": 0}
    for flow in range(flows):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((host, int(port)))  # so that an answer from any other address than the VIP does not count
            client.settimeout(UDP_TIMEOUT_S)
            names = set()
            for n in range(rounds):
                data = f"{flow}/{n} ".encode() + random.randbytes(n * 1300 // max(rounds, 1))
                client.send(data)
                try:
                    name, _, answer = client.recv(65536).partition(b" ")
                except (TimeoutError, ConnectionRefusedError):
                    outcome["lost"] += 1
                    continue
                outcome["wrong"] += answer != data
                outcome["answers"][name.decode()] += 1
                names.add(name)
            outcome["changed_server"] += len(names) > 1
    return outcome


def main():
    kind, target, *rest = sys.argv[1:]
    if kind == "upload":
        outcome = upload(target, rest[0])
    elif kind == "echo":
        outcome = echo(target, int(rest[0]))
    else:
        outcome = udp(target, int(rest[0]), int(rest[1]))
    print(json.dumps(outcome))


main()
