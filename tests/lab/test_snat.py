"""VMs reach the outside with their VIP as source, from leased port ranges."""

import json

from counters import AGENT_DROP_SNAT_EXHAUSTED
from harness import TOOLS, LabTest, dip, endpoint, eventually

CLIENT = "198.51.100.11"
PORT = 7001
PORTS = range(7001, 7021)
FULL_PORTS = range(7201, 7205)  # of tests that fill a destination: others do not connect there
READY_PORT = 7100  # only for wait_ready: its connections take no ports towards the others
VM = "vm1-1"


def snat(vms, **policy):
    return {"dips": [dip(vm) for vm in vms], **policy}


class SnatTest(LabTest):
    """A test with a server on the client, and with VIPs whose SNAT it configures."""

    def serve_peers(self, lab=None):
        child = (lab or self.lab).spawn("client1", "python3", f"{TOOLS}/peer_server.py", *PORTS, *FULL_PORTS, READY_PORT)
        self.assertEqual(child.stdout.readline(), "ready\n")

    def use(self, vms, *endpoints, vip=None, lab=None, **policy):
        """The test's VIP with SNAT for these VMs, announced; the server listens."""
        lab, vip = lab or self.lab, vip or self.vip
        self.addCleanup(lambda: lab.anantactl("vip", "delete", vip, check=False))
        lab.apply({"vip": vip, "tenant": "test", "snat": snat(vms, **policy), **({"endpoints": list(endpoints)} if endpoints else {})})
        lab.wait_announced(vip)

    def settings(self, lab=None, **snat_settings):
        lab = lab or self.lab
        lab.anantactl("settings", "apply", "-f", "-", stdin=json.dumps({"snat": snat_settings}))
        self.addCleanup(lambda: lab.anantactl("settings", "reset", check=False))

    def outbound(self, vm, kind, *arguments, lab=None, timeout_s=120):
        return (lab or self.lab).tool(vm, "outbound", kind, CLIENT, *arguments, timeout_s=timeout_s)

    def tcp(self, vm, n=1, *more, ports=(PORT,), **kwargs):
        return self.outbound(vm, "tcp", *ports, "--connections", n, *more, **kwargs)

    def leases(self, vip=None, lab=None):
        return (lab or self.lab).ask("snat", "list", "--vip", vip or self.vip)

    def leased(self, vm, vip=None, lab=None):
        """Ports that the VM has of the VIP."""
        return sum(row["last_port"] - row["first_port"] + 1 for row in self.leases(vip, lab) if row["dip"] == dip(vm))

    def pool(self, vip=None, lab=None):
        return (lab or self.lab).ask("snat", "show", vip or self.vip)

    def wait_ready(self, vm, vip=None, lab=None):
        """The agent has its preallocated ports: a connection leaves with the VIP as source."""
        vip = vip or self.vip

        def leaves_as_vip():
            return [address for address, _ in self.tcp(vm, 1, "--timeout", 3, "--reset", ports=(READY_PORT,), lab=lab)["seen"]] == [vip]

        eventually(leaves_as_vip, f"{vm} leaves as {vip}")

    def assert_all_open(self, outcome, n, vip=None):
        self.assertEqual(outcome["errors"], {})
        self.assertEqual(len(outcome["seen"]), n)
        self.assertEqual({address for address, _ in outcome["seen"]}, {vip or self.vip})

    def assert_sound(self, lab=None, vip=None):
        """No port of the VIP is held twice, and none is lost."""
        held = set()
        for row in self.leases(vip, lab):
            ports = set(range(row["first_port"], row["last_port"] + 1))
            self.assertFalse(held & ports, f"{sorted(held & ports)} are held twice")
            held |= ports
        pool = self.pool(vip, lab)
        self.assertEqual(len(held), pool["leased"])
        self.assertEqual(pool["leased"] + pool["quarantined"] + pool["free"], pool["ports"])


class Connections(SnatTest):
    def setUp(self):
        super().setUp()
        self.serve_peers()

    def test_a_vm_leaves_as_its_vip_and_no_mux_sees_it(self):
        self.use([VM])
        self.wait_ready(VM)
        ports = "{ " + ", ".join(f'"{mux}"' for mux in self.lab.all_muxes()) + " }"
        seen = self.watch("fabric", f"oifname {ports} ip daddr {CLIENT}", family="bridge", hook="forward")
        naked = self.watch("client1", f"ip saddr {dip(VM)}")
        outcome = self.tcp(VM, 50)
        self.assert_all_open(outcome, 50)
        self.assertEqual(len({port for _, port in outcome["seen"]}), 50)
        self.assertEqual((seen.packets(), naked.packets()), (0, 0))

    def test_five_thousand_connections_of_one_vm_to_one_destination(self):
        self.use([VM])
        self.wait_ready(VM)
        outcome = self.tcp(VM, 5000, "--rate", 2500, "--timeout", 20, "--reset")
        self.assert_all_open(outcome, 5000)
        ports = [port for _, port in outcome["seen"]]
        self.assertEqual(len(set(ports)), 5000)
        steps = {b - a for a, b in zip(ports, ports[1:])}
        self.assertGreater(len(steps), 50, "ports are predictable")
        self.assert_sound()
        leased = set()
        for row in self.leases():
            leased |= set(range(row["first_port"], row["last_port"] + 1))
        self.assertLessEqual(set(ports), leased)

    def test_few_ports_serve_many_destinations(self):
        self.use([VM], prealloc_ports=8, max_ports_per_dip=8)
        self.wait_ready(VM)
        outcome = self.tcp(VM, 20 * 7, "--reset", ports=PORTS)
        self.assert_all_open(outcome, 20 * 7)
        self.assertLessEqual(len({port for _, port in outcome["seen"]}), 8)

    def test_a_udp_socket_keeps_its_port_towards_all_destinations(self):
        self.use([VM])
        self.wait_ready(VM)
        outcome = self.outbound(VM, "udp", *PORTS, "--sockets", 10)
        self.assertEqual(outcome["errors"], {})
        mappings = [{tuple(seen) for seen in of_socket} for of_socket in outcome["seen"]]
        self.assertEqual([len(m) for m in mappings], [1] * 10)
        self.assertEqual(len(set.union(*mappings)), 10)
        self.assertEqual({address for m in mappings for address, _ in m}, {self.vip})

    def test_dns(self):
        self.use([VM])
        self.wait_ready(VM)
        self.assertEqual(self.outbound(VM, "dns", PORT), {"answer": "192.0.2.53"})

    def test_ping_and_traceroute(self):
        self.use([VM])
        self.wait_ready(VM)
        naked = self.watch("client1", f"ip saddr {dip(VM)}")
        self.assertIn(" 5 received", self.lab.exec(VM, "ping", "-c", 5, "-i", "0.05", "-W", 2, CLIENT).stdout)
        for method in ("-I", "-U", "-T"):
            hops = self.lab.exec(VM, "traceroute", "-n", "-q", 1, "-w", 2, "-m", 5, method, CLIENT).stdout.splitlines()[1:]
            self.assertIn("10.0.0.1 ", hops[0] + " ", f"traceroute {method}")
            self.assertIn(f"{CLIENT} ", hops[-1] + " ", f"traceroute {method}")
        self.assertEqual(naked.packets(), 0)

    def test_an_icmp_error_reaches_the_socket_that_caused_it(self):
        self.use([VM])
        self.wait_ready(VM)
        outcome = self.outbound(VM, "udp", 7999, "--timeout", 3)
        self.assertEqual(outcome["errors"], {"ECONNREFUSED": 1})

    def test_a_vm_reaches_the_endpoint_of_its_own_vip(self):
        self.use([VM, "vm2-1"], endpoint([VM, "vm2-1"]))
        self.wait_ready(VM)
        self.assert_answers(self.lab.http(self.vip, 60, client=VM), [VM, "vm2-1"], 60)
        seen = self.lab.exec(VM, "curl", "-sS", "--max-time", 10, f"http://{self.vip}/whoami").stdout.split()[1]
        self.assertEqual(seen.split(":")[0], self.vip)

    def test_destinations_inside_are_reached_with_the_own_address(self):
        self.use([VM])
        self.wait_ready(VM)
        seen = self.lab.exec(VM, "curl", "-sS", "--max-time", 10, f"http://{dip('vm3-1')}:8080/whoami").stdout.split()[1]
        self.assertEqual(seen.split(":")[0], dip(VM))
        self.settings(never=["198.51.100.0/24"])
        eventually(lambda: self.tcp(VM)["seen"][0][0] == dip(VM), "the client is reached with the VM's own address")

    def test_fragments_do_not_leave_as_they_are(self):
        self.use([VM])
        self.wait_ready(VM)
        naked = self.watch("client1", f"ip saddr {dip(VM)}")
        self.lab.exec(VM, "ping", "-c", 2, "-i", "0.05", "-W", 1, "-s", 4000, CLIENT, check=False)
        self.assertEqual(naked.packets(), 0)

    def test_a_large_upload_and_download(self):
        self.use([VM], endpoint(["vm3-1"]))
        self.wait_ready(VM)
        said = self.lab.exec(VM, "sh", "-c", f"curl -sS --max-time 60 http://{self.vip}/big | sha256sum").stdout
        self.assertEqual(said.split()[0], self.lab.big_checksum())

    def test_a_second_vip_takes_over_when_the_first_has_no_more(self):
        other = f"203.0.113.{next(self.last_byte)}"
        first, second = sorted((self.vip, other), key=lambda vip: int(vip.rpartition(".")[2]))
        self.use([VM], vip=first, prealloc_ports=16, max_ports_per_dip=16)
        self.use([VM], vip=second, prealloc_ports=0, max_ports_per_dip=64)
        self.wait_ready(VM, first)
        outcome = self.tcp(VM, 40, "--reset")
        self.assertEqual(outcome["errors"], {})
        by_vip = {vip: sum(address == vip for address, _ in outcome["seen"]) for vip in (first, second)}
        self.assertEqual(by_vip, {first: 16, second: 24})


class Exhaustion(SnatTest):
    """Each test has destinations of its own: closed connections keep their ports towards theirs for a while."""

    def setUp(self):
        super().setUp()
        self.serve_peers()

    def hold(self, vm, port, n, seconds, n_open):
        """Opens n connections beside the test and keeps them; returns once n_open of them are open."""
        child = self.lab.spawn(vm, "python3", f"{TOOLS}/outbound.py", "tcp", CLIENT, port, "--connections", n, "--hold", seconds, "--reset")

        def are_open():
            agent = next(row for row in self.pool()["dips"] if row["dip"] == dip(vm))["agent"]
            return {(b["address"], b["port"]): b["ports"] for b in agent["busiest"]}.get((CLIENT, port)) == n_open

        eventually(are_open, f"{n_open} connections to port {port}")
        return child

    def test_a_vm_is_told_at_once(self):
        self.use([VM], prealloc_ports=16, max_ports_per_dip=16)
        self.wait_ready(VM)
        naked = self.watch("client1", f"ip saddr {dip(VM)}")
        before = self.lab.counters("host", "host1")[AGENT_DROP_SNAT_EXHAUSTED]
        outcome = self.tcp(VM, 24, "--reset", ports=(7201,))
        self.assertEqual(len(outcome["seen"]), 16)
        self.assertEqual(outcome["errors"], {"ECONNREFUSED": 8})
        self.assertLess(outcome["refused_ms"]["max"], 500)
        self.assertGreaterEqual(self.lab.counters("host", "host1")[AGENT_DROP_SNAT_EXHAUSTED] - before, 8)
        self.assertEqual(naked.packets(), 0)
        eventually(lambda: any("snat-exhausted" in line and dip(VM) in line and CLIENT in line for line in self.lab.log_tail("host1", 50)),
                   "an event names the DIP and the destination")

    def test_other_destinations_are_not_concerned(self):
        self.use([VM], prealloc_ports=16, max_ports_per_dip=16)
        self.wait_ready(VM)
        child = self.hold(VM, 7202, 16, 5, 16)
        self.assertEqual(self.tcp(VM, ports=(7202,))["errors"], {"ECONNREFUSED": 1})
        self.assert_all_open(self.tcp(VM, 16, "--reset", ports=(7203,)), 16)
        self.assert_all_open(json.loads(child.communicate(timeout=30)[0]), 16)

    def test_udp_is_refused_by_icmp(self):
        self.use([VM], prealloc_ports=8, max_ports_per_dip=8)
        self.wait_ready(VM)
        outcome = self.outbound(VM, "udp", PORT, "--sockets", 12, "--timeout", 5)
        self.assertEqual(sum(len(of_socket) for of_socket in outcome["seen"]), 8)
        self.assertEqual(outcome["errors"], {"EHOSTUNREACH": 4})

    def test_snat_show_says_who_and_whereto(self):
        self.use(["vm3-2"], prealloc_ports=16, max_ports_per_dip=16)
        self.wait_ready("vm3-2")
        child = self.hold("vm3-2", 7204, 20, 3, 16)
        row = next(row for row in self.pool()["dips"] if row["dip"] == dip("vm3-2"))
        self.assertEqual((row["leased"], row["limit"]), (16, 16))
        self.assertGreater(row["agent"]["refused"], 0)
        self.assertIn(f"{CLIENT}:7204", self.lab.anantactl("snat", "show", self.vip).stdout)
        child.communicate(timeout=30)


class Survival(SnatTest):
    def setUp(self):
        super().setUp()
        self.serve_peers()

    def long(self, vm, seconds, lab=None):
        child = (lab or self.lab).spawn(vm, "python3", f"{TOOLS}/outbound.py", "long", CLIENT, PORT, "--hold", seconds)
        self.assertEqual(child.stdout.readline().split()[:2], ["open", self.vip])
        return child

    def assert_lived(self, child):
        said = child.communicate(timeout=60)[0]
        self.assertGreater(json.loads(said)["echoes"], 5)

    def test_a_connection_survives_the_death_of_a_mux(self):
        self.use([VM])
        self.wait_ready(VM)
        children = [self.long(VM, 4) for _ in range(6)]
        self.lab.kill("mux1")
        self.lab.wait_announced(self.vip, ["mux2"])
        for child in children:
            self.assert_lived(child)
        self.assert_all_open(self.tcp(VM, 50, "--reset"), 50)

    def test_a_restarted_mux_has_all_ranges_before_it_announces(self):
        self.use([VM])
        self.wait_ready(VM)
        self.lab.kill("mux1")
        self.lab.wait_announced(self.vip, ["mux2"])
        self.assert_all_open(self.tcp(VM, 400, "--rate", 800, "--reset"), 400)
        child = self.lab.spawn(VM, "python3", f"{TOOLS}/outbound.py", "tcp", CLIENT, PORT, "--connections", 300, "--hold", 6, "--reset")
        self.lab.start("mux1")
        self.lab.wait_announced(self.vip)
        outcome = json.loads(child.communicate(timeout=60)[0])
        self.assert_all_open(outcome, 300)

    def test_an_agent_keeps_its_leases_and_flows_over_a_restart_without_managers(self):
        self.use([VM])
        self.wait_ready(VM)
        child = self.long(VM, 6)
        eventually(lambda: self.leased(VM) >= 160, "the preallocated ports")
        managers = [node for node in self.lab.status() if node.startswith("mgr")]
        for node in managers:
            self.lab.kill(node)
        self.lab.kill("host1")
        self.lab.start("host1")
        self.assert_lived(child)
        outcome = eventually(lambda: (got := self.tcp(VM, 50, "--timeout", 2))["errors"] == {} and got, "new connections from saved leases")
        self.assert_all_open(outcome, 50)
        for node in managers:
            self.lab.start(node)
        eventually(lambda: self.lab.leader() is not None, "a leader")
        eventually(lambda: self.tcp(VM, 300, "--rate", 600, "--reset")["errors"] == {}, "more ports are leased again")
        self.assert_sound()

    def test_the_leader_dies_in_a_storm_of_requests(self):
        vms = ["vm1-1", "vm1-2", "vm2-1", "vm2-2", "vm3-1", "vm3-2"]
        self.use(vms, prealloc_ports=8)
        for vm in vms:
            self.wait_ready(vm)
        storm = [self.lab.spawn(vm, "python3", f"{TOOLS}/outbound.py", "tcp", CLIENT, PORT, "--connections", 600, "--rate", 150,
                                "--timeout", 20, "--reset") for vm in vms]
        eventually(lambda: sum(self.leased(vm) for vm in vms) > 100 * len(vms), "the storm has begun")
        leader = self.lab.leader()
        self.lab.kill(leader)
        outcomes = [json.loads(child.communicate(timeout=120)[0]) for child in storm]
        self.lab.start(leader)
        ports = [seen for outcome in outcomes for seen in map(tuple, outcome["seen"])]
        self.assertEqual(len(set(ports)), len(ports), "two VMs were seen from one port at the same time")
        refused = sum(sum(outcome["errors"].values()) for outcome in outcomes)
        self.assertLess(refused, len(ports) // 20, f"{[outcome['errors'] for outcome in outcomes]}")
        eventually(lambda: self.lab.leader() is not None, "a leader")
        self.assert_sound()

    def test_ten_cycles_of_growing_and_giving_back(self):
        vms = ["vm2-2", "vm3-1"]  # with which no test before has left connections
        self.settings(quarantine_s=1)
        self.use(vms, prealloc_ports=16, idle_s=1)
        for vm in vms:
            self.wait_ready(vm)
        for cycle in range(5):
            for vm in vms:
                self.assert_all_open(self.tcp(vm, 150, "--rate", 1000, "--reset"), 150)
                self.assertGreaterEqual(self.leased(vm), 150)
            eventually(lambda: all(self.leased(vm) == 16 for vm in vms), f"cycle {cycle}: only the preallocated ports are kept")
            self.assert_sound()

    def test_a_detached_vm_gives_its_ports_back(self):
        self.settings(quarantine_s=1)
        self.use(["vm1-1", "vm1-2"])
        self.wait_ready("vm1-2")
        self.addCleanup(lambda: self.lab.attach("vm1-2", check=False))
        self.lab.detach("vm1-2")
        self.assertEqual(self.leased("vm1-2"), 0)
        self.lab.attach("vm1-2")
        self.wait_ready("vm1-2")
        self.assertEqual(self.leased("vm1-2"), 160)

    def test_a_host_that_is_gone_loses_its_ports(self):
        self.settings(quarantine_s=1, gone_s=2)
        self.use(["vm3-1", "vm1-1"])
        self.wait_ready("vm3-1")
        self.lab.kill("host3")
        eventually(lambda: self.leased("vm3-1") == 0, "the ports of host3 are taken back")
        self.assertEqual(self.leased("vm1-1"), 160)
        self.lab.start("host3")
        self.wait_ready("vm3-1")

    def test_whohad_knows_who_had_a_port(self):
        self.settings(quarantine_s=1)
        self.use(["vm1-1", "vm1-2"])
        self.wait_ready("vm1-2")
        row = next(row for row in self.leases() if row["dip"] == dip("vm1-2"))
        where = f"{self.vip}:{row['first_port'] + 3}"
        self.addCleanup(lambda: self.lab.attach("vm1-2", check=False))
        self.lab.detach("vm1-2")
        had = self.lab.ask("snat", "whohad", where, "--at", row["since"])["leases"]
        self.assertEqual([lease["dip"] for lease in had], [dip("vm1-2")])
        self.assertEqual(self.lab.ask("snat", "whohad", where, "--at", had[0]["until"])["leases"], [])

    def test_a_revoked_range_is_used_no_more(self):
        self.use([VM], prealloc_ports=8, max_ports_per_dip=64)
        self.wait_ready(VM)
        row = self.leases()[0]
        self.lab.anantactl("snat", "revoke", f"{self.vip}:{row['first_port']}")
        revoked = set(range(row["first_port"], row["last_port"] + 1))

        def is_unused():
            outcome = self.tcp(VM, 20, "--reset")
            return outcome["errors"] == {} and not revoked & {port for _, port in outcome["seen"]}

        eventually(is_unused, "other ports are used")


class Fencing(SnatTest):
    def test_a_hung_mux_is_fenced_and_not_waited_for(self):
        self.serve_peers()
        self.use([VM], prealloc_ports=8)
        self.wait_ready(VM)
        self.lab.kill("mux1", "STOP")
        self.lab.wait_announced(self.vip, ["mux2"])
        outcome = self.tcp(VM, 200, "--rate", 400, "--timeout", 10, "--reset")
        self.assert_all_open(outcome, 200)
        eventually(lambda: {row["name"]: row["state"] for row in self.lab.ask("mux", "list")}["mux1"] in ("fenced", "down"), "mux1 is fenced")
        self.lab.kill("mux1", "CONT")
        self.lab.wait_announced(self.vip)
        eventually(lambda: {row["name"]: row["state"] for row in self.lab.ask("mux", "list")}["mux1"] == "announcing", "mux1 announces again")
        self.assert_all_open(self.tcp(VM, 300, "--rate", 600, "--reset"), 300)
