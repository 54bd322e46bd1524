"""What VMs and strangers may not do. Each refusal is counted, and each test first shows that its packet would otherwise arrive."""

import counters
from harness import LabTest, TOOLS, dip, endpoint, eventually

STRANGER = "198.51.100.77"
N = 5


class Isolation(LabTest):
    def send(self, node, *words):
        self.lab.exec(node, "python3", f"{TOOLS}/raw_send.py", *words, "--count", N)

    def assert_counted(self, host, counter, action):
        before = self.lab.counters("host", host)[counter]
        action()
        eventually(lambda: self.lab.counters("host", host)[counter] >= before + N, f"{counter} of {host} has grown by {N}")

    def test_encapsulation_by_a_stranger_is_refused(self):
        self.apply(endpoint(["vm1-1"]))
        arrived = self.watch("vm1-1", f"ip saddr {STRANGER} tcp dport 8080")
        self.send("mux1", "ipip", "10.0.0.31", dip("vm1-1"), STRANGER, self.vip, 80)
        eventually(lambda: arrived.packets() >= N, "encapsulated by a mux the packets arrive")
        before = arrived.packets()
        for node, source in (("client1", "198.51.100.11"), ("router1", "10.0.0.1")):
            self.assert_counted("host1", counters.AGENT_DROP_ENCAP_SOURCE,
                                lambda node=node, source=source: self.send(node, "ipip", source, dip("vm1-1"), STRANGER, self.vip, 80))
        self.assertEqual(arrived.packets(), before)

    def test_a_vm_that_spoofs_its_address_is_refused(self):
        for victim in (dip("vm2-1"), dip("vm1-2"), self.vip, STRANGER):
            with self.subTest(source=victim):
                arrived = self.watch("client1", f"ip saddr {victim} udp dport 9999")
                self.assert_counted("host1", counters.AGENT_DROP_SPOOFED_SOURCE,
                                    lambda victim=victim: self.send("vm1-1", "udp", victim, "198.51.100.11", 9999))
                self.assertEqual(arrived.packets(), 0)

    def test_a_vm_sends_from_its_own_address(self):
        arrived = self.watch("client1", f"ip saddr {dip('vm1-1')} udp dport 9999")
        self.send("vm1-1", "udp", dip("vm1-1"), "198.51.100.11", 9999)
        eventually(lambda: arrived.packets() >= N, "what is not spoofed arrives")

    def test_a_vm_that_spoofs_its_mac_address_is_refused(self):
        gateway = self.lab.exec("vm1-1", "sh", "-c", "ping -c 1 -W 2 10.1.1.1 > /dev/null; ip neigh show 10.1.1.1").stdout.split()
        gateway_mac = gateway[gateway.index("lladdr") + 1]
        arrived = self.watch("client1", f"ip saddr {dip('vm1-1')} udp dport 9998")
        frame = ("udp-frame", dip("vm1-1"), "198.51.100.11", 9998, "eth0")
        self.send("vm1-1", *frame, self.lab.mac("vm1-1"), gateway_mac)
        eventually(lambda: arrived.packets() >= N, "from its own MAC address the packets arrive")
        before = arrived.packets()
        self.assert_counted("host1", counters.AGENT_DROP_SPOOFED_MAC, lambda: self.send("vm1-1", *frame, "02:00:00:00:00:99", gateway_mac))
        self.assertEqual(arrived.packets(), before)

    def test_encapsulation_by_a_vm_is_refused(self):
        self.apply(endpoint(["vm2-1"]))
        arrived = self.watch("vm2-1", f"ip saddr {STRANGER} tcp dport 8080")
        self.assert_counted("host1", counters.AGENT_DROP_VM_ENCAP,
                            lambda: self.send("vm1-1", "ipip", dip("vm1-1"), dip("vm2-1"), STRANGER, self.vip, 80))
        self.assertEqual(arrived.packets(), 0)
