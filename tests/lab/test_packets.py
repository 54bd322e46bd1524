"""Packets that balancers get wrong, through real kernels on both sides: pings, traceroutes, fragments, narrow paths."""

import json
import re

from harness import LabTest, dip, endpoint, eventually

UDP_PORT = 5301
ROUTER = "router1"


class PacketTest(LabTest):
    def client(self, *argv, check=True, timeout_s=60):
        return self.lab.exec("client1", *argv, check=check, timeout_s=timeout_s)

    def ping(self, vip, *more):
        """How many of 5 pings were answered."""
        said = self.client("ping", "-n", "-c", "5", "-i", "0.2", "-W", "2", *more, vip, check=False).stdout
        return int(re.search(r"(\d+) received", said).group(1)), said

    def narrow(self, mtu):
        """The way between the router and the client carries packets of this size only."""
        for node, interface in ((ROUTER, "eth1"), ("client1", "eth0")):
            self.lab.exec(node, "ip", "link", "set", interface, "mtu", mtu)
            self.addCleanup(lambda node=node, interface=interface: self.lab.exec(node, "ip", "link", "set", interface, "mtu", 1500))


class Pings(PacketTest):
    def test_a_vip_answers_pings_of_any_size(self):
        self.apply(endpoint(["vm1-1"]))
        for size in (56, 1400, 1472, 3000, 8000):
            with self.subTest(size):
                n, said = self.ping(self.vip, "-s", str(size))
                self.assertEqual(n, 5, said)

    def test_traceroutes_end_at_the_vip(self):
        self.apply(endpoint(["vm1-1"]))
        for kind in ("-I", "-U", "-T"):
            with self.subTest(kind):
                said = self.client("traceroute", "-n", kind, *(("-p", "80") if kind == "-T" else ()), "-q", "1", "-w", "1", "-m", "6", self.vip).stdout
                hops = [line.split()[1] for line in said.splitlines()[1:]]
                self.assertEqual(hops[-1], self.vip, said)
                self.assertLessEqual(len(hops), 3, said)


class Fragments(PacketTest):
    def test_large_datagrams_come_and_go_in_fragments(self):
        self.lab.serve("vm2-1", "udp-echo", UDP_PORT, "vm2-1")
        self.apply(endpoint(["vm2-1"], port=UDP_PORT, dip_port=UDP_PORT, protocol="udp"))
        script = ("import socket, sys\n"
                  "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); ok = 0\n"
                  "for size in (100, 1472, 1473, 2000, 3000, 8000, 20000, 60000):\n"
                  "    data = bytes(i * 7 & 255 for i in range(size))\n"
                  f"    s.sendto(data, ('{self.vip}', {UDP_PORT})); got = s.recv(65536)\n"
                  "    assert got == b'vm2-1 ' + data, size\n"
                  "    ok += 1\n"
                  "print(ok)\n")
        self.assertEqual(self.client("python3", "-c", script).stdout.strip(), "8")

    def test_large_datagrams_of_a_vm_leave_by_snat(self):
        self.addCleanup(lambda: self.lab.anantactl("vip", "delete", self.vip, check=False))
        self.lab.apply({"vip": self.vip, "tenant": "test", "snat": {"dips": [dip("vm1-2")]}})
        self.lab.wait_announced(self.vip)
        self.lab.serve("client1", "udp-echo", UDP_PORT + 1, "client1")
        script = ("import socket\n"
                  "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
                  "for size in (100, 2000, 9000):\n"
                  "    data = bytes(i * 5 & 255 for i in range(size))\n"
                  f"    s.sendto(data, ('198.51.100.11', {UDP_PORT + 1})); got = s.recv(65536)\n"
                  "    assert got == b'client1 ' + data, size\n"
                  "print('whole')\n")
        eventually(lambda: self.lab.exec("vm1-2", "python3", "-c", script, timeout_s=30).stdout.strip() == "whole", "datagrams come back whole")


class NarrowPaths(PacketTest):
    def test_downloads_pass_paths_of_1400_and_1280(self):
        self.apply(endpoint(["vm1-1", "vm2-1"]))
        for mtu in (1400, 1280):
            with self.subTest(mtu):
                self.narrow(mtu)
                download = self.lab.start_download(self.vip, path="/big")
                self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())

    def test_a_client_that_ignores_the_clamped_mss_gets_through(self):
        """RFC 2923: the muxes' network carries 1500 bytes only, the outer header included, and the client sends segments of 1460."""
        for mux in self.lab.all_muxes():
            self.reconfigure(mux, mtu=1500)
        self.lab.serve("vm1-1", "tcp-sink", 9000)
        self.apply(endpoint(["vm1-1"], port=9, dip_port=9000))
        outcome = self.lab.tool("client1", "forged_mss", self.vip, 9, "--mss", 1460)
        self.assertEqual(outcome["digest"], outcome["expected"])
        self.assertEqual(outcome["last_mss"], 1500 - 20 - 40 - 12)  # with the time stamp option, and what the muxes have said by ICMP

    def reconfigure(self, mux, **fields):
        """With other settings in its file, and back with the test."""
        path = f"{self.lab.directory}/{mux}/mux.json"
        with open(path, encoding="utf-8") as file:
            before = file.read()

        def restart(text):
            self.lab.kill(mux)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            self.lab.start(mux)

        self.addCleanup(restart, before)
        restart(json.dumps({**json.loads(before), **fields}))
