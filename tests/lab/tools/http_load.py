#!/usr/bin/env python3
"""HTTP load from inside a client: TARGET HOST:PORT, prints one JSON object.

  --connections N   so many connections are open at the same time, and a first request is only sent when all are
  --requests N      on each connection, one after the other
  --sequential      instead: one connection after the other, one request each (N = --connections)

{"answers": {"vm1-1": 12, ...}, "errors": ["..."]}: who answered how often, and what went wrong.
"""

import argparse
import asyncio
import collections
import json


async def request(reader, writer, host, path, last):
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {'close' if last else 'keep-alive'}\r\n\r\n".encode())
    await writer.drain()
    status = (await reader.readline()).decode()
    if " 200 " not in status:
        raise ConnectionError(f"answer: {status.strip() or 'connection closed'}")
    length = 0
    while line := (await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return (await reader.readexactly(length)).decode().split()[0]


async def one(args, opened, outcome):
    host, port = args.target.rsplit(":", 1)
    host = host.strip("[]")
    writer = None
    try:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), args.timeout)
        finally:
            await opened()
        for n in range(args.requests):
            answer = await asyncio.wait_for(request(reader, writer, host, args.path, n == args.requests - 1), args.timeout)
            outcome["answers"][answer] += 1
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
        outcome["errors"].append(f"{type(error).__name__}: {error}")
    finally:
        if writer:
            writer.close()


async def load(args):
    outcome = {"answers": collections.Counter(), "errors": []}
    if args.sequential:
        async def at_once():
            pass
        for _ in range(args.connections):
            await one(args, at_once, outcome)
        return outcome
    waiting, everyone = args.connections, asyncio.Event()

    async def when_all_are_open():
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            everyone.set()
        await everyone.wait()

    await asyncio.gather(*(one(args, when_all_are_open, outcome) for _ in range(args.connections)))
    return outcome


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--path", default="/whoami")
    parser.add_argument("--timeout", type=float, default=15)
    parser.add_argument("--sequential", action="store_true")
    print(json.dumps(asyncio.run(load(parser.parse_args()))))


main()
