#!/usr/bin/env python3
"""Opens a TCP connection to HOST:PORT every --interval seconds, asks for a page on it, and closes it, for --seconds or until SIGTERM.

{"n": 400, "failed": [[begun, took, "why"], ...]}: begun is seconds since 1970. An attempt that has not ended after --patience has failed.
"""

import argparse
import asyncio
import json
import signal
import time


async def attempt(host, port, patience):
    async def ask():
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            if b" 200 " not in await reader.readline():
                raise ConnectionError("no answer")
        finally:
            writer.close()
    await asyncio.wait_for(ask(), patience)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--interval", type=float, default=0.005)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--patience", type=float, default=0.5)
    args = parser.parse_args()
    host, port = args.target.rsplit(":", 1)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    failed, tasks = [], []

    async def one():
        begun = time.time()
        try:
            await attempt(host, int(port), args.patience)
        except (OSError, asyncio.TimeoutError) as error:
            failed.append([begun, time.time() - begun, type(error).__name__])

    print("ready", flush=True)
    began = time.monotonic()
    while not ended.is_set() and time.monotonic() - began < args.seconds:
        tasks.append(asyncio.ensure_future(one()))
        due = began + len(tasks) * args.interval
        try:
            await asyncio.wait_for(ended.wait(), max(0, due - time.monotonic()))
        except asyncio.TimeoutError:
            pass
    await asyncio.gather(*tasks)
    print(json.dumps({"n": len(tasks), "failed": failed}))


asyncio.run(main())
