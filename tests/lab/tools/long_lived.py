#!/usr/bin/env python3
"""Long-lived connections with data flowing both ways all the time, every byte of it checked at both ends; prints JSON.

  long_lived.py serve PORT NAME
      In a VM: TCP and UDP. Prints "ready" once it listens; on SIGTERM: {"name": NAME, "accepted": N, "finished": N, "broken": {WHY: N},
      "wrong_bytes": N, "received": BYTES}
  long_lived.py run HOST:PORT [--connections N] [--udp-flows N] [--every S] [--patience S] [--seconds S] [--reset]
      In a client: opens all, prints "open" and what each VM has of them ({"tcp": {NAME: N}, "udp": {NAME: N}}), and goes on until SIGTERM or for
      --seconds. Then each connection is ended in good order, and both sides say how much came. --reset: they end by RST instead, which agents
      forget sooner; "finished" are then those that were well until then.
      {"opened": N, "failed": {WHY: N}, "broken": {WHY: N}, "first_broken": [[WHY, NAME, SECONDS SINCE "open"], ...], "finished": N, "wrong_bytes": N,
       "sent": BYTES, "received": BYTES, "longest_gap_ms": N, "by_vm": {NAME: N},
       "udp": {"flows": N, "asked": N, "answered": N, "changed": N, "stalled": N, "wrong": N, "longest_gap_ms": N, "by_vm": {NAME: N}}}

A TCP connection: the client sends its number (8 bytes), the server its name and a newline; then each sends a block of its own stream every
--every seconds. A stream is a part of one random pattern, beginning at a place that follows from the number and the direction, so that bytes of
another connection, or from another place, are wrong. The client ends its stream; the server answers with the end of its own and a trailer (how much
it got, how many bytes were wrong). Broken is: reset, closed too early, wrong bytes, nothing received for --patience seconds, no such end.
"""

import argparse
import asyncio
import collections
import json
import random
import resource
import signal
import socket
import struct
import time

PATTERN_BYTES = 1 << 20
PATTERN = random.Random("long lived").randbytes(PATTERN_BYTES) * 2
BLOCK_BYTES = 256
TRAILER = struct.Struct("!QQ")  # received, wrong bytes
WILL_RESET = 1 << 63  # in the number
TICK_S = 0.02
SHOWN = 20


class Stream:
    """One direction of one connection."""

    def __init__(self, number, direction):
        self.start = random.Random(f"{number} {direction}").randrange(PATTERN_BYTES)
        self.n = 0

    def take(self, n_bytes):
        at = (self.start + self.n) % PATTERN_BYTES
        self.n += n_bytes
        return PATTERN[at:at + n_bytes]

    def count_wrong(self, data):
        """How many of the bytes that came next are not those that should have."""
        n_wrong = 0
        for begin in range(0, len(data), PATTERN_BYTES):
            part = data[begin:begin + PATTERN_BYTES]
            want = self.take(len(part))
            if part != want:
                n_wrong += sum(a != b for a, b in zip(part, want))
        return n_wrong


class Peer(asyncio.Protocol):
    """What both ends have in common."""

    def __init__(self, owner):
        self.owner = owner
        self.transport = None
        self.buffer = b""
        self.incoming = self.outgoing = None
        self.n_wrong = 0
        self.last_s = time.monotonic()
        self.gap_s = 0.0
        self.is_over = False  # finished or broken

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def note_arrival(self):
        now = time.monotonic()
        self.gap_s = max(self.gap_s, now - self.last_s)
        self.last_s = now

    def check(self, data):
        n_wrong = self.incoming.count_wrong(data)
        self.n_wrong += n_wrong
        if n_wrong:
            self.break_off("wrong bytes")

    def send_block(self):
        if self.outgoing is not None and not self.is_over and not self.transport.is_closing():
            self.transport.write(self.outgoing.take(BLOCK_BYTES))

    def look_at_clock(self, patience_s):
        if not self.is_over and self.transport is not None and time.monotonic() - self.last_s > patience_s:
            self.note_arrival()
            self.break_off("stalled")

    def break_off(self, why):
        if self.is_over:
            return
        self.is_over = True
        self.owner.on_broken(self, why)
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc):
        self.break_off(type(exc).__name__ if exc is not None else "closed")


async def tick(peers, every_s):
    """Each of the peers sends a block every so often, not all at once."""
    n = 0
    parts = max(1, round(every_s / TICK_S))
    began = time.monotonic()
    while True:
        n += 1
        await asyncio.sleep(max(0.0, began + n * TICK_S - time.monotonic()))
        for peer in peers()[n % parts::parts]:
            peer.send_block()


async def watch_clock(peers, patience_s):
    while True:
        await asyncio.sleep(1)
        for peer in list(peers()):
            peer.look_at_clock(patience_s)


# --- the server


class ServerPeer(Peer):
    will_reset = False

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(self.owner.name.encode() + b"\n")
        self.owner.peers.append(self)
        self.owner.n_accepted += 1

    def data_received(self, data):
        self.note_arrival()
        if self.incoming is None:
            self.buffer += data
            if len(self.buffer) < 8:
                return
            number, data = struct.unpack("!Q", self.buffer[:8])[0], self.buffer[8:]
            self.incoming, self.outgoing = Stream(number, "up"), Stream(number, "down")
            self.will_reset = number & WILL_RESET != 0
        self.check(data)

    def eof_received(self):
        if self.incoming is None or self.is_over:
            return False
        self.is_over = True
        self.transport.write(TRAILER.pack(self.incoming.n, self.n_wrong))
        self.owner.n_finished += 1
        return False  # closes, once all is sent

    def connection_lost(self, exc):
        if self.will_reset and not self.is_over and isinstance(exc, ConnectionResetError):
            self.is_over = True
            self.owner.n_finished += 1
        super().connection_lost(exc)
        self.owner.peers.remove(self)
        self.owner.n_received += self.incoming.n if self.incoming else 0
        self.owner.n_wrong += self.n_wrong


class UdpServer(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name = name.encode()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(self.name + b" " + data, addr)


class Server:
    def __init__(self, name):
        self.name = name
        self.peers = []
        self.broken = collections.Counter()
        self.n_accepted = self.n_finished = self.n_wrong = self.n_received = 0

    def on_broken(self, _, why):
        self.broken[why] += 1

    async def serve(self, port, every_s, patience_s):
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, over.set)
        await loop.create_server(lambda: ServerPeer(self), "0.0.0.0", port, backlog=1024)
        await loop.create_datagram_endpoint(lambda: UdpServer(self.name), local_addr=("0.0.0.0", port))
        beside = [asyncio.create_task(tick(lambda: self.peers, every_s)), asyncio.create_task(watch_clock(lambda: self.peers, patience_s))]
        print("ready", flush=True)
        await over.wait()
        for task in beside:
            task.cancel()
        print(json.dumps({"name": self.name, "accepted": self.n_accepted, "finished": self.n_finished, "broken": self.broken,
                          "wrong_bytes": self.n_wrong + sum(peer.n_wrong for peer in self.peers),
                          "received": self.n_received + sum(peer.incoming.n for peer in self.peers if peer.incoming)}), flush=True)


# --- the client


class ClientPeer(Peer):
    def __init__(self, owner, number):
        super().__init__(owner)
        self.number = number
        self.name = None
        self.is_open = asyncio.get_running_loop().create_future()
        self.end = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(struct.pack("!Q", self.number))

    def data_received(self, data):
        self.note_arrival()
        self.buffer += data
        if self.name is None:
            name, newline, rest = self.buffer.partition(b"\n")
            if not newline:
                return
            self.name, self.buffer = name.decode(), rest
            self.incoming, self.outgoing = Stream(self.number, "down"), Stream(self.number, "up")
            self.is_open.set_result(None)
        keep = TRAILER.size  # what comes last is the trailer, and nobody knows yet what is last
        if len(self.buffer) > keep:
            data, self.buffer = self.buffer[:-keep], self.buffer[-keep:]
            self.check(data)

    def finish(self):
        """Ends the stream; the rest is the server's to say."""
        if not self.is_over:
            self.outgoing, self.n_sent = None, self.outgoing.n
            self.transport.write_eof()

    def reset(self):
        self.is_over = True
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def eof_received(self):
        if not self.is_over and self.outgoing is None and self.name is not None:
            if self.buffer == TRAILER.pack(self.n_sent, 0):
                self.is_over = True
            else:
                self.break_off("not all arrived")
        return False

    def connection_lost(self, exc):
        super().connection_lost(exc)
        if not self.is_open.done():
            self.is_open.set_result(None)
        self.end.set_result(None)

    def count_sent(self):
        return self.outgoing.n if self.outgoing is not None else getattr(self, "n_sent", 0)


class UdpFlow(asyncio.DatagramProtocol):
    """Asks every so often; always the same VM must answer."""

    def __init__(self, number):
        self.number = number
        self.transport = None
        self.n_asked = self.n_answered = self.n_wrong = 0
        self.names = []
        self.last_s = time.monotonic()
        self.gap_s = 0.0

    def connection_made(self, transport):
        self.transport = transport

    def send_block(self):
        self.n_asked += 1
        self.transport.sendto(f"{self.number}/{self.n_asked} ".encode() + PATTERN[self.n_asked:self.n_asked + 100])

    def datagram_received(self, data, addr):
        now = time.monotonic()
        self.gap_s, self.last_s = max(self.gap_s, now - self.last_s), now
        name, _, answer = data.partition(b" ")
        which, _, content = answer.partition(b" ")
        number, _, n = which.decode().partition("/")
        self.n_answered += 1
        self.n_wrong += number != str(self.number) or content != PATTERN[int(n):int(n) + 100]
        if not self.names or self.names[-1] != name.decode():
            self.names.append(name.decode())

    def error_received(self, exc):
        pass  # an answer that does not come is noticed


class Client:
    def __init__(self, args):
        self.args = args
        self.host, port = args.target.rsplit(":", 1)
        self.port = int(port)
        self.peers, self.flows = [], []
        self.failed = collections.Counter()
        self.broken = collections.Counter()
        self.first_broken = []
        self.opened_s = time.monotonic()

    def on_broken(self, peer, why):
        if peer.name is None:
            return  # not opened at all: counted by open()
        self.broken[why] += 1
        if len(self.first_broken) < SHOWN:
            self.first_broken.append([why, peer.name, round(time.monotonic() - self.opened_s, 1)])

    async def open(self, number):
        peer = ClientPeer(self, number)
        try:
            async with asyncio.timeout(self.args.patience):
                await asyncio.get_running_loop().create_connection(lambda: peer, self.host, self.port)
                await peer.is_open
        except (OSError, TimeoutError) as error:
            self.failed[type(error).__name__] += 1
            peer.is_over = True
            if peer.transport is not None:
                peer.transport.abort()
            return
        if peer.name is None:
            self.failed["closed"] += 1
        else:
            self.peers.append(peer)

    async def open_all(self):
        gate = asyncio.Semaphore(50)

        async def one(number):
            async with gate:
                await self.open(number)

        await asyncio.gather(*(one(random.getrandbits(63) | (WILL_RESET if self.args.reset else 0)) for _ in range(self.args.connections)))
        for number in range(self.args.udp_flows):
            _, flow = await asyncio.get_running_loop().create_datagram_endpoint(lambda number=number: UdpFlow(number),
                                                                                remote_addr=(self.host, self.port))
            self.flows.append(flow)

    async def wait_for_udp(self):
        """Until each flow has a VM."""
        deadline = time.monotonic() + self.args.patience
        while any(not flow.names for flow in self.flows) and time.monotonic() < deadline:
            await asyncio.sleep(TICK_S)

    async def wait_for_blocks(self):
        """Until each connection that is whole has received something since the last trouble."""
        deadline = time.monotonic() + self.args.patience
        silent = {peer: peer.incoming.n for peer in self.peers}
        while silent and time.monotonic() < deadline:
            await asyncio.sleep(TICK_S)
            silent = {peer: n for peer, n in silent.items() if peer.incoming.n == n and not peer.end.done()}

    async def run(self):
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        await self.open_all()
        beside = [asyncio.create_task(tick(lambda: self.peers + self.flows, self.args.every)),
                  asyncio.create_task(watch_clock(lambda: self.peers, self.args.patience))]
        await self.wait_for_udp()
        self.opened_s = time.monotonic()
        print("open " + json.dumps({"tcp": collections.Counter(peer.name for peer in self.peers),
                                    "udp": collections.Counter(flow.names[0] for flow in self.flows if flow.names)}), flush=True)
        try:
            await asyncio.wait_for(over.wait(), self.args.seconds)
        except TimeoutError:
            pass
        await self.wait_for_blocks()
        for peer in self.peers:
            peer.reset() if self.args.reset else peer.finish()
        if self.peers:
            await asyncio.wait([peer.end for peer in self.peers], timeout=self.args.patience)
        for peer in self.peers:
            peer.break_off("does not end")
        for task in beside:
            task.cancel()
        print(json.dumps(self.outcome()), flush=True)

    def outcome(self):
        now = time.monotonic()
        flows = self.flows
        return {
            "opened": len(self.peers), "failed": self.failed, "broken": self.broken, "first_broken": self.first_broken,
            "finished": len(self.peers) - sum(self.broken.values()), "wrong_bytes": sum(peer.n_wrong for peer in self.peers),
            "sent": sum(peer.count_sent() for peer in self.peers), "received": sum(peer.incoming.n for peer in self.peers),
            "longest_gap_ms": round(max((peer.gap_s for peer in self.peers), default=0) * 1000),
            "by_vm": collections.Counter(peer.name for peer in self.peers),
            "udp": {
                "flows": len(flows), "asked": sum(flow.n_asked for flow in flows), "answered": sum(flow.n_answered for flow in flows),
                "changed": sum(len(flow.names) > 1 for flow in flows), "wrong": sum(flow.n_wrong for flow in flows),
                "stalled": sum(max(flow.gap_s, now - flow.last_s) > self.args.patience for flow in flows),
                "longest_gap_ms": round(max((max(flow.gap_s, now - flow.last_s) for flow in flows), default=0) * 1000),
                "by_vm": collections.Counter(flow.names[0] for flow in flows if flow.names),
            },
        }


def main():
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    serve = kinds.add_parser("serve")
    serve.add_argument("port", type=int)
    serve.add_argument("name")
    run = kinds.add_parser("run")
    run.add_argument("target")
    run.add_argument("--connections", type=int, default=1)
    run.add_argument("--udp-flows", type=int, default=0)
    run.add_argument("--seconds", type=float)
    run.add_argument("--reset", action="store_true")
    for of_kind in (serve, run):
        of_kind.add_argument("--every", type=float, default=0.25)
        of_kind.add_argument("--patience", type=float, default=15)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.kind == "serve":
        asyncio.run(Server(args.name).serve(args.port, args.every, args.patience))
    else:
        asyncio.run(Client(args).run())


main()
