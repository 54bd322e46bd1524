#!/usr/bin/env python3
"""Sends packets that no honest program would send.

  ipip OUTER_SOURCE OUTER_DESTINATION SOURCE DESTINATION PORT   an encapsulated TCP SYN to DESTINATION:PORT
  udp SOURCE DESTINATION PORT                                   a datagram
  udp-frame SOURCE DESTINATION PORT INTERFACE SOURCE_MAC DESTINATION_MAC   the same, with its Ethernet header
  pin SOURCE MUX CLUSTER VIP PORT DIP                           a pin (common/packet/pin.h) of a connection to VIP:PORT, signed without the key;
                                                                CLUSTER as `anantactl cluster status` has it

--count N sends it N times.
"""

import argparse
import os
import socket
import struct
import time

SOURCE_PORT = 40000
PIN_PORT = 7402


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload):
    def header(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, check,
                           socket.inet_aton(source), socket.inet_aton(destination))
    return header(checksum(header(0))) + payload


def pseudo_header(source, destination, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, protocol, length)


def tcp_syn(source, destination, port):
    def segment(check):
        return struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1, 0, 5 << 4, 0x02, 65535, check, 0)
    pseudo = pseudo_header(source, destination, 6, 20)
    return ipv4(source, destination, 6, segment(checksum(pseudo + segment(0))))


def udp(source, destination, port, data=b"spoofed"):
    def datagram(check):
        return struct.pack("!HHHH", SOURCE_PORT, port, 8 + len(data), check) + data
    pseudo = pseudo_header(source, destination, 17, 8 + len(data))
    return ipv4(source, destination, 17, datagram(checksum(pseudo + datagram(0)) or 0xFFFF))


def mapped(address):
    """IPv4-mapped, as messages of pins have addresses (common/packet/pin.h)."""
    return socket.inet_pton(socket.AF_INET6, f"::ffff:{address}")


def pin(source, mux, cluster, vip, port, dip):
    header = b"ANPN" + struct.pack("!BBHQQ16s", 2, 1, 0, cluster, time.time_ns() // 1000, mapped(source))
    flow = (b"".join(map(mapped, ("198.51.100.11", vip, dip))) + struct.pack("!HHBBH", SOURCE_PORT, port, 6, 0, 0))
    return udp(source, mux, PIN_PORT, header + flow + os.urandom(8))


def send_ip(packet, destination, count):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in range(count):
            raw.sendto(packet, (destination, 0))


def send_frame(packet, interface, source_mac, destination_mac, count):
    frame = bytes.fromhex(destination_mac.replace(":", "")) + bytes.fromhex(source_mac.replace(":", "")) + b"\x08\x00" + packet
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for _ in range(count):
            raw.send(frame)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("ipip", "udp", "udp-frame", "pin"))
    parser.add_argument("words", nargs="+")
    parser.add_argument("--count", type=int, default=1)
    args = parser.parse_args()
    words = args.words
    if args.kind == "ipip":
        outer_source, outer_destination, source, destination, port = words
        send_ip(ipv4(outer_source, outer_destination, 4, tcp_syn(source, destination, int(port))), outer_destination, args.count)
    elif args.kind == "pin":
        source, mux, cluster, vip, port, dip = words
        for _ in range(args.count):
            send_ip(pin(source, mux, int(cluster, 16), vip, int(port), dip), mux, 1)
    elif args.kind == "udp":
        source, destination, port = words
        send_ip(udp(source, destination, int(port)), destination, args.count)
    else:
        source, destination, port, interface, source_mac, destination_mac = words
        send_frame(udp(source, destination, int(port)), interface, source_mac, destination_mac, args.count)


main()
