#!/usr/bin/env python3
"""Notes which IPv4 packets pass an interface, by kind, until SIGTERM or --seconds have passed. INTERFACE. Prints "ready", then one JSON object.

{"ipip SRC DST": [n, first, last],       an encapsulated packet, by its outer addresses
 "inner SRC VIP": [...],                 the same, by the outer source and the inner destination
 "out MAC DST": [...], "in MAC SRC": [...]}   what leaves to a MAC address, what comes from one

first and last are seconds since 1970, by the kernel's time stamps.
"""

import argparse
import json
import signal
import socket
import struct
import time

ETH_P_IP = 0x0800
SO_TIMESTAMPNS = 35
PACKET_OUTGOING = 4


def keys_of(frame, is_outgoing):
    mac = frame[0:6] if is_outgoing else frame[6:12]
    source, destination = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
    text = mac.hex(":")
    yield f"out {text} {destination}" if is_outgoing else f"in {text} {source}"
    if frame[23] == 4 and not is_outgoing and len(frame) >= 54:
        yield f"ipip {source} {destination}"
        yield f"inner {source} {socket.inet_ntoa(frame[50:54])}"


def note(seen, key, when):
    entry = seen.setdefault(key, [0, when, when])
    entry[0] += 1
    entry[2] = when


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("interface")
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind((args.interface, 0))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        sock.settimeout(0.1)
        print("ready", flush=True)
        seen = {}
        deadline = time.monotonic() + args.seconds
        while not ended and time.monotonic() < deadline:
            try:
                frame, control, _, (_, protocol, kind, _, _) = sock.recvmsg(96, 128)
            except TimeoutError:
                continue
            if protocol != ETH_P_IP or len(frame) < 34:
                continue
            when = next((s + ns / 1e9 for level, number, data in control if number == SO_TIMESTAMPNS
                         for s, ns in [struct.unpack("qq", data[:16])]), time.time())
            for key in keys_of(frame, kind == PACKET_OUTGOING):
                note(seen, key, when)
        print(json.dumps(seen))


main()
