#!/usr/bin/env python3
"""Servers for a VM. Prints "ready" once it listens, and serves until it is killed.

  tcp-echo PORT   sends back whatever comes
  tcp-sink PORT   reads to the end, then answers with the SHA-256 of what came
  udp-echo PORT NAME   answers each datagram with "NAME " and the datagram
"""

import hashlib
import socket
import socketserver
import sys


class TcpEcho(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class TcpSink(socketserver.BaseRequestHandler):
    def handle(self):
        digest = hashlib.sha256()
        while data := self.request.recv(1 << 18):
            digest.update(data)
        self.request.sendall(digest.hexdigest().encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6  # and IPv4, as mapped addresses
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve_udp(port, name):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        print("ready", flush=True)
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(name.encode() + b" " + data, peer)


def main():
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "udp-echo":
        serve_udp(port, sys.argv[3])
        return
    with Server(("::", port), {"tcp-echo": TcpEcho, "tcp-sink": TcpSink}[kind]) as server:
        print("ready", flush=True)
        server.serve_forever()


main()
