#!/usr/bin/env python3
"""Outbound connections of a VM to a peer_server.py; prints JSON.

  outbound.py tcp HOST PORT [PORT ...] [--connections N] [--rate N] [--hold S] [--reset] [--timeout S] [--steady]
      Opens N connections, to the ports in turn, all at once or N a second, and keeps all of them open until the last one is; --hold: so many
      seconds longer; then each must still echo. --reset: they end by RST. --steady: each is closed after its echo, none is kept.
      {"seen": [[ADDRESS, PORT], ...], "errors": {"ECONNREFUSED": 2}, "connect_ms": {"p50": ..., "p99": ..., "max": ...},
       "refused_ms": {...}, "retransmitted": N}
  outbound.py long HOST PORT --hold S
      One connection that echoes ten times a second; prints "open ADDRESS PORT", and at the end {"echoes": N, "longest_gap_ms": ...}
  outbound.py udp HOST PORT [PORT ...] [--sockets N]
      Sends from each socket to every port: {"seen": [[[ADDRESS, PORT], ...] for each socket], "errors": {...}}
  outbound.py dns HOST PORT
      Looks up an A record: {"answer": "192.0.2.53"}
"""

import argparse
import asyncio
import collections
import errno
import json
import os
import resource
import socket
import struct
import time

TCPI_TOTAL_RETRANS = 100  # offset in struct tcp_info (linux/tcp.h)


def percentiles(values):
    values = sorted(values)
    if not values:
        return {}
    return {name: round(values[min(len(values) - 1, int(len(values) * share))] * 1000, 3) for name, share in
            (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def name_of(error):
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno, str(error)) if isinstance(error, OSError) and error.errno else type(error).__name__


class Outcome:
    def __init__(self):
        self.seen = []
        self.errors = collections.Counter()
        self.connect_s = []
        self.refused_s = []
        self.retransmitted = 0

    def as_dict(self):
        return {"seen": self.seen, "errors": self.errors, "connect_ms": percentiles(self.connect_s), "refused_ms": percentiles(self.refused_s),
                "retransmitted": self.retransmitted}


async def connect(host, port, timeout, outcome):
    """A connected socket that knows how the peer sees it, or None."""
    s = socket.socket(family_of(host))
    s.setblocking(False)
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    try:
        await asyncio.wait_for(loop.sock_connect(s, (host, port)), timeout)
        outcome.connect_s.append(time.monotonic() - began)
        said = b""
        while not said.endswith(b"\n"):
            more = await asyncio.wait_for(loop.sock_recv(s, 100), timeout)
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            said += more
        address, seen_port = said.decode().split()
        outcome.seen.append([address, int(seen_port)])
        return s
    except (OSError, asyncio.TimeoutError) as error:
        outcome.errors[name_of(error)] += 1
        outcome.refused_s.append(time.monotonic() - began)
        s.close()
        return None


async def echo(s, timeout, outcome):
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.sock_sendall(s, b"still here\n"), timeout)
        got = await asyncio.wait_for(loop.sock_recv(s, 100), timeout)
        if got != b"still here\n":
            raise ConnectionResetError(errno.ECONNRESET, "no echo")
    except (OSError, asyncio.TimeoutError) as error:
        outcome.errors["echo " + name_of(error)] += 1


def finish(s, args, outcome):
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCPI_TOTAL_RETRANS + 4)
    outcome.retransmitted += struct.unpack_from("I", info, TCPI_TOTAL_RETRANS)[0]
    if args.reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


async def one_steady(args, port, outcome):
    s = await connect(args.host, port, args.timeout, outcome)
    if s is not None:
        await echo(s, args.timeout, outcome)
        finish(s, args, outcome)


async def run_tcp(args):
    outcome = Outcome()
    tasks = []
    began = time.monotonic()
    for i in range(args.connections):
        if args.rate:
            await asyncio.sleep(max(0.0, began + i / args.rate - time.monotonic()))
        port = args.ports[i % len(args.ports)]
        tasks.append(asyncio.create_task(one_steady(args, port, outcome) if args.steady else connect(args.host, port, args.timeout, outcome)))
    sockets = [s for s in await asyncio.gather(*tasks) if s is not None]
    await asyncio.sleep(args.hold)
    await asyncio.gather(*(echo(s, args.timeout, outcome) for s in sockets))
    for s in sockets:
        finish(s, args, outcome)
    return outcome.as_dict()


def run_long(args):
    with socket.create_connection((args.host, args.ports[0]), args.timeout) as s:
        f = s.makefile("rb")
        print("open " + f.readline().decode().strip(), flush=True)
        n, gap, last = 0, 0.0, time.monotonic()
        end = last + args.hold
        while last < end:
            s.sendall(b"x\n")
            assert f.readline() == b"x\n"
            now = time.monotonic()
            gap, last, n = max(gap, now - last), now, n + 1
            time.sleep(0.1)
    return {"echoes": n, "longest_gap_ms": round(gap * 1000)}


def run_udp(args):
    seen, errors = [], collections.Counter()
    sockets = [socket.socket(family_of(args.host), socket.SOCK_DGRAM) for _ in range(args.sockets)]
    for s in sockets:
        s.settimeout(args.timeout)
        if s.family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: ICMP errors are told
        else:
            s.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        seen.append([])
        for port in args.ports:
            try:
                s.sendto(b"who am I", (args.host, port))
                address, seen_port = s.recv(100).decode().split()
                seen[-1].append([address, int(seen_port)])
            except OSError as error:
                errors[name_of(error) if error.errno else "timeout"] += 1
    return {"seen": seen, "errors": errors}


def run_dns(args):
    name = b"".join(bytes([len(label)]) + label for label in (b"www", b"example", b"com")) + b"\0"
    query = struct.pack("!6H", os.getpid() & 0xffff, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
    with socket.socket(family_of(args.host), socket.SOCK_DGRAM) as s:
        s.settimeout(args.timeout)
        s.connect((args.host, args.ports[0]))
        s.send(query)
        answer = s.recv(512)
    assert answer[:2] == query[:2] and answer[2] & 0x80
    return {"answer": socket.inet_ntoa(answer[-4:])}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("tcp", "long", "udp", "dns"))
    parser.add_argument("host")
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--sockets", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--hold", type=float, default=0)
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--reset", action="store_true")
    parser.add_argument("--steady", action="store_true")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = {"tcp": lambda a: asyncio.run(run_tcp(a)), "long": run_long, "udp": run_udp, "dns": run_dns}[args.kind]
    print(json.dumps(run(args)))


main()
