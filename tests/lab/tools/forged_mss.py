#!/usr/bin/env python3
"""A client that does not care for the MSS that it was told (RFC 2923's black hole): uploads to a tcp-sink of server.py; prints JSON.

  forged_mss.py HOST PORT --mss 1460 --bytes N

The connection is made as any other; then its MSS is set by TCP_REPAIR_OPTIONS, as if the peer had said it.
{"digest": what the sink has received, "expected": what was sent, "first_mss": what the kernel sends by at first, "last_mss": at the end}
"""

import argparse
import hashlib
import json
import random
import socket
import struct

TCP_REPAIR, TCP_REPAIR_OPTIONS = 19, 22
REPAIR_ON, REPAIR_OFF_NO_PROBE = 1, -1
TCPOPT_MSS = 2
SND_MSS_AT = 16  # in struct tcp_info (linux/tcp.h)


def send_mss(s):
    return struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), SND_MSS_AT)[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--mss", type=int, default=1460)
    parser.add_argument("--bytes", type=int, default=3_000_000)
    args = parser.parse_args()
    data = random.Random("mss").randbytes(args.bytes)
    with socket.create_connection((args.host, args.port), 10) as s:
        s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
        s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_OPTIONS, struct.pack("II", TCPOPT_MSS, args.mss))
        s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_PROBE)
        s.settimeout(30)
        s.sendall(data[:100_000])
        first = send_mss(s)
        s.sendall(data[100_000:])
        s.shutdown(socket.SHUT_WR)
        digest = s.makefile("rb").readline().decode().strip()
        print(json.dumps({"digest": digest, "expected": hashlib.sha256(data).hexdigest(), "first_mss": first, "last_mss": send_mss(s)}))


main()
