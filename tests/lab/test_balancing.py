"""Requests from the Internet find the VMs behind a VIP, in the right shares, and the answers go straight back."""

import counters
from harness import LabTest, dip, endpoint, eventually

SIX_VMS = ["vm1-1", "vm1-2", "vm2-1", "vm2-2", "vm3-1", "vm3-2"]


class Balancing(LabTest):
    def test_300_requests_are_spread_by_weight(self):
        weights = {"vm1-1": 1, "vm2-1": 2, "vm3-1": 3}
        self.apply(endpoint(weights))
        outcome = self.lab.http(self.vip, 300, sequential=True)
        self.assert_answers(outcome, weights, 300)
        self.assert_spread(outcome["answers"], weights)

    def test_equal_weights_make_equal_shares(self):
        self.apply(endpoint(SIX_VMS))
        outcome = self.lab.http(self.vip, 300, sequential=True)
        self.assert_answers(outcome, SIX_VMS, 300)
        self.assert_spread(outcome["answers"], {vm: 1 for vm in SIX_VMS})

    def test_200_concurrent_connections_go_over_both_muxes(self):
        self.apply(endpoint(SIX_VMS))
        before = {mux: self.lab.counters("mux", mux)[counters.MUX_FORWARDED] for mux in ("mux1", "mux2")}
        outcome = self.lab.http(self.vip, 200, requests=5)
        self.assert_answers(outcome, SIX_VMS, 1000)
        for mux, packets in before.items():
            forwarded = self.lab.counters("mux", mux)[counters.MUX_FORWARDED] - packets
            # At least SYN, ACK, five requests and FIN of 200 connections: half of that would be 800.
            self.assertGreater(forwarded, 400, f"{mux} forwarded {forwarded} packets only")

    def test_the_vm_sees_the_address_and_port_of_the_client(self):
        self.apply(endpoint(["vm1-1"]))
        said = self.lab.exec("client1", "curl", "-sS", "--local-port", "23456", f"http://{self.vip}/whoami").stdout
        self.assertEqual(said, "vm1-1 198.51.100.11:23456\n")

    def test_several_endpoints_of_a_vip_have_their_own_dips_and_ports(self):
        self.apply(endpoint(["vm1-1"], port=80), endpoint(["vm2-1"], port=81, name="other"))
        self.assert_answers(self.lab.http(self.vip, 20), ["vm1-1"], 20)
        self.assert_answers(self.lab.http(self.vip, 20, port=81), ["vm2-1"], 20)

    def test_a_port_without_an_endpoint_gets_no_answer(self):
        self.apply(endpoint(["vm1-1"]))
        self.assertEqual(len(self.lab.http(self.vip, 1, port=82, timeout=1)["errors"]), 1)

    def test_a_vm_reaches_a_vip_of_vms_on_other_hosts(self):
        self.apply(endpoint(["vm2-1", "vm3-1"]))
        self.assert_answers(self.lab.http(self.vip, 40, client="vm1-1"), ["vm2-1", "vm3-1"], 40)

    def test_a_vm_reaches_a_vip_of_a_vm_on_its_own_host(self):
        self.apply(endpoint(["vm1-2"]))
        self.assert_answers(self.lab.http(self.vip, 10, client="vm1-1"), ["vm1-2"], 10)

    def test_udp_datagrams_are_answered_from_the_vip(self):
        vms = ["vm1-1", "vm2-1", "vm3-1"]
        for vm in vms:
            self.lab.serve(vm, "udp-echo", 5353, vm)
        self.apply(endpoint(vms, port=53, dip_port=5353, protocol="udp", name="dns"))
        outcome = self.lab.tool("client1", "transfer", "udp", f"{self.vip}:53", 60, 5)
        self.assertEqual((outcome["lost"], outcome["wrong"], outcome["changed_server"]), (0, 0, 0))
        self.assertEqual(sorted(outcome["answers"]), vms)
        self.assertEqual(sum(outcome["answers"].values()), 300)

    def test_tcp_and_udp_on_the_same_port_are_different_endpoints(self):
        self.lab.serve("vm2-1", "udp-echo", 5353, "vm2-1")
        self.apply(endpoint(["vm1-1"]), endpoint(["vm2-1"], dip_port=5353, protocol="udp", name="quic"))
        self.assert_answers(self.lab.http(self.vip, 5), ["vm1-1"], 5)
        self.assertEqual(self.lab.tool("client1", "transfer", "udp", f"{self.vip}:80", 5, 2)["answers"], {"vm2-1": 10})

    def test_replies_do_not_pass_a_mux(self):
        self.apply(endpoint(SIX_VMS))
        muxes = self.lab.all_muxes()
        ports = "{ " + ", ".join(f'"{mux}"' for mux in muxes) + " }"

        def at_the_muxes(match):
            return self.watch("fabric", match, family="bridge", hook="forward")

        requests_in = at_the_muxes(f"oifname {ports} ip daddr {self.vip} tcp dport 80")
        encapsulated_out = at_the_muxes(f"iifname {ports} ip protocol 4")
        replies = [at_the_muxes(f"{side} {ports} ip saddr {self.vip}") for side in ("iifname", "oifname")]
        replies_of_dips = at_the_muxes(f"oifname {ports} ip saddr 10.1.0.0/16")
        at_the_client = self.watch("client1", f"ip saddr {self.vip} tcp sport 80")
        self.assert_answers(self.lab.http(self.vip, 50), SIX_VMS, 50)
        self.assertGreaterEqual(requests_in.packets(), 50 * 4)
        eventually(lambda: encapsulated_out.packets() == requests_in.packets(), "every packet to the muxes has left them again")
        self.assertGreaterEqual(at_the_client.packets(), 50 * 3)
        self.assertEqual([w.packets() for w in (*replies, replies_of_dips)], [0, 0, 0])

    def test_packets_go_encapsulated_from_the_mux_to_the_dip(self):
        self.apply(endpoint(["vm2-2"]))
        right = self.watch("fabric", f'iifname {{ "mux1", "mux2" }} ip saddr {{ 10.0.0.31, 10.0.0.32 }} ip daddr {dip("vm2-2")} ip protocol 4',
                           family="bridge", hook="forward")
        self.assert_answers(self.lab.http(self.vip, 10), ["vm2-2"], 10)
        self.assertGreaterEqual(right.packets(), 40)

    def test_a_vip_answers_ping(self):
        self.apply(endpoint(["vm1-1"]))
        said = self.lab.exec("client1", "ping", "-c", 5, "-i", "0.05", "-W", 2, self.vip).stdout
        self.assertIn(" 5 received", said)

    def test_all_muxes_choose_the_same_dip_for_a_connection(self):
        self.apply(endpoint(SIX_VMS))

        def who_answers(muxes):
            for mux in set(self.lab.all_muxes()) - set(muxes):
                self.lab.partition(mux)
            self.lab.wait_announced(self.vip, muxes)
            said = self.lab.tool("client1", "from_ports", self.vip, 80, 24000, 24039)
            for mux in set(self.lab.all_muxes()) - set(muxes):
                self.lab.heal(mux)
            self.lab.wait_announced(self.vip)
            return said

        self.assertEqual(who_answers(["mux1"]), who_answers(["mux2"]))

    def test_flow_and_packet_counters_are_shown(self):
        self.apply(endpoint(["vm1-1"]))
        before = self.lab.counters("host", "host1")
        self.assert_answers(self.lab.http(self.vip, 20), ["vm1-1"], 20)
        for name in (counters.AGENT_INBOUND, counters.AGENT_OUTBOUND):
            eventually(lambda name=name: self.lab.counters("host", "host1")[name] >= before[name] + 60, f"{name} of host1 has counted")
