#!/usr/bin/env python3
"""A server on the "Internet" that tells each peer how it is seen. Prints "ready" once it listens, and serves until it is killed.

  peer_server.py PORT [PORT ...]

TCP: sends "ADDRESS PORT\n" at once, then sends back whatever comes. UDP (the same ports): answers a datagram with "ADDRESS PORT"; one that is
a DNS query for an A record gets a DNS answer, 192.0.2.53.
"""

import asyncio
import resource
import socket
import struct
import sys

DNS_ANSWER = bytes([192, 0, 2, 53])


async def serve_tcp(reader, writer):
    address, port = writer.get_extra_info("peername")[:2]
    try:
        writer.write(f"{address} {port}\n".encode())
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def dns_answer(query):
    """The answer to a query for one A record (RFC 1035 section 4), or None when it is no such query."""
    if len(query) < 17:
        return None
    ident, flags, questions, answers, authority, _ = struct.unpack("!6H", query[:12])
    if flags & 0xf800 or questions != 1 or answers or authority:
        return None
    end = 12
    while end < len(query) and query[end] != 0:
        end += query[end] + 1
    question = query[12:end + 5]
    if question[-4:] != struct.pack("!HH", 1, 1):
        return None
    record = struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + DNS_ANSWER
    return struct.pack("!6H", ident, 0x8180, 1, 1, 0, 0) + question + record


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(dns_answer(data) or f"{addr[0]} {addr[1]}".encode(), addr)


def datagram_socket(address, port):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # each family has a socket of its own
    sock.bind((address, port))
    return sock


async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for port in map(int, sys.argv[1:]):
        for address in ("0.0.0.0", "::"):
            await asyncio.start_server(serve_tcp, address, port, backlog=4096)
            await asyncio.get_running_loop().create_datagram_endpoint(Udp, sock=datagram_socket(address, port))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
