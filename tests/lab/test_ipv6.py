"""IPv6 VIPs and DIPs, and IPv4 and IPv6 inside each other between muxes and hosts."""

import re

from harness import TOOLS, LabTest, dip, dip6, document, endpoint, eventually

CLIENT6 = "2001:db8:c::11"
PEER_PORT = 7301
UDP_PORT = 5311


class Ip6Test(LabTest):
    def apply6(self, *endpoints, wait=True):
        self.apply(*endpoints, vip=self.vip6, wait=wait)

    def client(self, *argv, check=True, timeout_s=60):
        return self.lab.exec("client1", *argv, check=check, timeout_s=timeout_s)

    def count(self, node, match, hook="prerouting"):
        return self.watch(node, match, family="ip6", hook=hook)


class Balancing(Ip6Test):
    def test_connections_spread_over_the_dips(self):
        weights = {"vm1-1": 1, "vm2-1": 1, "vm3-1": 2}
        self.apply6(endpoint(weights, family=6))
        outcome = self.lab.http(self.vip6, connections=300)
        self.assert_answers(outcome, weights, 300)
        self.assert_spread(outcome["answers"], weights)

    def test_a_vm_sees_the_clients_own_address(self):
        self.apply6(endpoint(["vm2-2"], family=6))
        said = self.client("curl", "-sS", "--max-time", "10", f"http://[{self.vip6}]/whoami").stdout.split()
        self.assertEqual((said[0], said[1].rpartition(":")[0]), ("vm2-2", CLIENT6))

    def test_a_download_survives_a_mux(self):
        self.apply6(endpoint(["vm1-1", "vm2-1", "vm3-1"], family=6))
        downloads = [self.lab.start_download(self.vip6) for _ in range(6)]
        self.lab.kill("mux1")
        for download in downloads:
            self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())
        self.lab.wait_announced(self.vip6, ["mux2"])
        self.lab.start("mux1")
        self.lab.wait_announced(self.vip6)

    def test_both_families_stand_side_by_side(self):
        self.apply(endpoint(["vm1-2"]))
        self.apply6(endpoint(["vm1-2"], family=6))
        for vip in (self.vip, self.vip6):
            self.assert_answers(self.lab.http(vip, connections=20), ["vm1-2"], 20)

    def test_a_vip_and_its_dips_are_of_one_family(self):
        done = self.lab.anantactl("vip", "apply", "-f", "-", stdin=str(document(self.vip6, endpoint(["vm1-1"]))).replace("'", '"'), check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("family", done.stderr)


class Icmp6(Ip6Test):
    def test_a_vip_answers_pings_of_any_size(self):
        self.apply6(endpoint(["vm1-1"], family=6))
        for size in (56, 1400, 1452, 3000, 8000):
            with self.subTest(size):
                said = self.client("ping", "-6", "-n", "-c", "5", "-i", "0.2", "-W", "2", "-s", str(size), self.vip6, check=False).stdout
                self.assertIn("5 received", said)

    def test_traceroutes_end_at_the_vip(self):
        self.apply6(endpoint(["vm1-1"], family=6))
        for kind in ("-I", "-U", "-T"):
            with self.subTest(kind):
                said = self.client("traceroute", "-6", "-n", kind, *(("-p", "80") if kind == "-T" else ()), "-q", "1", "-w", "1", "-m", "6",
                                   self.vip6).stdout
                self.assertEqual(said.splitlines()[-1].split()[1], self.vip6, said)

    def test_downloads_pass_paths_of_1400_and_1280(self):
        self.apply6(endpoint(["vm1-1", "vm2-1"], family=6))
        for mtu in (1400, 1280):
            with self.subTest(mtu):
                for node, interface in (("router1", "eth1"), ("client1", "eth0")):
                    self.lab.exec(node, "ip", "link", "set", interface, "mtu", mtu)
                    self.addCleanup(lambda node=node, interface=interface: self.lab.exec(node, "ip", "link", "set", interface, "mtu", 1500))
                self.assertEqual(self.lab.checksum_of(self.lab.start_download(self.vip6, path="/big")), self.lab.big_checksum())

    def test_large_datagrams_come_and_go_in_fragments(self):
        self.lab.serve("vm2-1", "udp-echo", UDP_PORT, "vm2-1")
        self.apply6(endpoint(["vm2-1"], port=UDP_PORT, dip_port=UDP_PORT, protocol="udp", family=6))
        script = ("import socket\n"
                  "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(5)\n"
                  "for size in (100, 1452, 1453, 2000, 8000, 60000):\n"
                  "    data = bytes(i * 7 & 255 for i in range(size))\n"
                  f"    s.sendto(data, ('{self.vip6}', {UDP_PORT})); got = s.recv(65536)\n"
                  "    assert got == b'vm2-1 ' + data, size\n"
                  "print('whole')\n")
        self.assertEqual(self.client("python3", "-c", script).stdout.strip(), "whole")


class Snat6(Ip6Test):
    def setUp(self):
        super().setUp()
        child = self.lab.spawn("client1", "python3", f"{TOOLS}/peer_server.py", PEER_PORT)
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.addCleanup(lambda: self.lab.anantactl("vip", "delete", self.vip6, check=False))
        self.lab.apply({"vip": self.vip6, "tenant": "test", "snat": {"dips": [dip6("vm1-1"), dip6("vm2-1")]}})
        self.lab.wait_announced(self.vip6)

    def outbound(self, kind, *more):
        return self.lab.tool("vm1-1", "outbound", kind, CLIENT6, PEER_PORT, *more)

    def wait_ready(self):
        eventually(lambda: [address for address, _ in self.outbound("tcp", "--timeout", 3)["seen"]] == [self.vip6], "the VM leaves as its VIP")

    def test_connections_leave_as_the_vip(self):
        self.wait_ready()
        outcome = self.outbound("tcp", "--connections", 200)
        self.assertEqual(outcome["errors"], {})
        self.assertEqual({address for address, _ in outcome["seen"]}, {self.vip6})
        ports = {(row["first_port"], row["last_port"]) for row in self.lab.ask("snat", "list", "--vip", self.vip6) if row["dip"] == dip6("vm1-1")}
        for _, port in outcome["seen"]:
            self.assertTrue(any(first <= port <= last for first, last in ports), (port, ports))

    def test_udp_and_pings_leave_as_the_vip(self):
        self.wait_ready()
        seen = self.outbound("udp", "--sockets", 5)
        self.assertEqual(seen["errors"], {})
        self.assertEqual({address for answers in seen["seen"] for address, _ in answers}, {self.vip6})
        said = self.lab.exec("vm1-1", "ping", "-6", "-n", "-c", "3", "-i", "0.2", "-W", "2", CLIENT6, check=False).stdout
        self.assertIn("3 received", said)

    def test_what_nobody_listens_on_is_refused_at_once(self):
        self.wait_ready()
        outcome = self.lab.tool("vm1-1", "outbound", "tcp", CLIENT6, 9, "--timeout", 5)
        self.assertEqual(outcome["errors"], {"ECONNREFUSED": 1})


class AcrossFamilies(Ip6Test):
    """The outer header is of the other family: the DIP has an address of it under which packets for it are sent."""

    def test_ipv4_inside_ipv6(self):
        via = "2001:db8:1:1::a01"
        self.lab.attach("vm1-1", via=via)
        self.addCleanup(self.lab.attach, "vm1-1")
        counted = self.count("router1", f"ip6 daddr {via} ip6 nexthdr 4", hook="forward")
        self.apply(endpoint(["vm1-1"]))
        self.assert_answers(self.lab.http(self.vip, connections=20), ["vm1-1"], 20)
        self.assertGreater(counted.packets(), 20)

    def test_ipv6_inside_ipv4(self):
        via = "10.1.2.201"
        self.lab.attach("vm2-1", address=dip6("vm2-1"), via=via)
        self.addCleanup(self.lab.attach, "vm2-1", address=dip6("vm2-1"))
        counted = self.watch("router1", f"ip daddr {via} ip protocol 41", family="ip", hook="forward")
        self.apply6(endpoint(["vm2-1"], family=6))
        self.assert_answers(self.lab.http(self.vip6, connections=20), ["vm2-1"], 20)
        self.assertGreater(counted.packets(), 20)

    def test_snat_replies_take_the_same_way(self):
        via = "2001:db8:1:3::a01"
        self.lab.attach("vm3-1", via=via)
        self.addCleanup(self.lab.attach, "vm3-1")
        child = self.lab.spawn("client1", "python3", f"{TOOLS}/peer_server.py", PEER_PORT + 1)
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.addCleanup(lambda: self.lab.anantactl("vip", "delete", self.vip, check=False))
        self.lab.apply({"vip": self.vip, "tenant": "test", "snat": {"dips": [dip("vm3-1")]}})
        self.lab.wait_announced(self.vip)
        eventually(lambda: self.lab.tool("vm3-1", "outbound", "tcp", "198.51.100.11", PEER_PORT + 1, "--timeout", 3)["seen"][0][0] == self.vip,
                   "the VM leaves as its VIP")


class Plain(Ip6Test):
    def test_a_vm_reaches_the_outside_and_another_vm_by_its_own_address(self):
        for target in (CLIENT6, dip6("vm2-1"), dip6("vm1-2")):
            with self.subTest(target):
                said = self.lab.exec("vm1-1", "ping", "-6", "-n", "-c", "3", "-i", "0.2", "-W", "2", target, check=False).stdout
                self.assertRegex(said, re.compile("3 received"))
