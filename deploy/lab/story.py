#!/usr/bin/env python3
"""The demo's story, told with the real data centre. Every claim that it prints it has checked: when one does not hold, it says so, takes
the lab away and exits with 1. Called by deploy/demo, which installs and builds first.

  story.py [--down]     --down: take the lab away at the end, too
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import control  # noqa: E402  (found through the line above)
import lifecycle  # noqa: E402
import namespaces  # noqa: E402
import processes  # noqa: E402
import topology  # noqa: E402
from watch import Watch  # noqa: E402

PREFIX = "demo"
VIP = "203.0.113.10"
SECOND_VIP = "203.0.113.20"
WEIGHTS = {"vm1-1": 1, "vm2-1": 2, "vm3-1": 3}
REQUESTS = 300
# 300 draws by weight: the chance of a larger chi-square with two degrees of freedom is one in a million.
CHI_SQUARE_LIMIT = 27.6
CLIENT = "198.51.100.11"
POLL_S = 0.05
# Answers each HTTP request with the address and port that it came from.
PEER_SERVER = """
import http.server
class Peer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.client_address[0]} {self.client_address[1]}\\n".encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 7000), Peer)
print("ready", flush=True)
server.serve_forever()
"""
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

PICTURE = """\
                      client1  198.51.100.11
                         |
   ~~~~~~~~~~~~~~~ the Internet  198.51.100.0/24 ~~~~~~~~~~~~~~~
                         |
                      router1  BIRD; spreads a VIP's packets over the muxes
                         |
   ==================== fabric  10.0.0.0/24 ====================
     |       |       |          |          |         |
    mux1    mux2    host1      host2      host3     mgr1 mgr2 mgr3
    .31     .32     .101       .102       .103      .11  .12  .13
    DPDK    DPDK    DPDK       DPDK       DPDK      Raft
    BIRD    BIRD     |          |          |
                    vm1-1      vm2-1      vm3-1     nginx in every VM;
                    vm1-2      vm2-2      vm3-2     VM n of host h is 10.1.h.(10+n)
"""


class StoryError(RuntimeError):
    """A claim of the story does not hold."""


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(text):
    print(f"\n{paint('1;36', text)}\n{paint('36', '-' * len(text))}", flush=True)


def say(text=""):
    print(text, flush=True)


def good(text):
    print(paint("32", text), flush=True)


def require(truth, what):
    if not truth:
        raise StoryError(what)


def eventually(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        require(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(POLL_S)
    return result


class Story:
    def __init__(self, lab):
        self.lab = lab
        self.watches = []
        self.children = []

    # --- means

    def run(self, node, *argv, stdin=None, timeout_s=60):
        """Standard output of a command inside a node."""
        command = namespaces.inside(self.lab.node(node).namespace, *map(str, argv))
        done = subprocess.run(command, capture_output=True, text=True, input=stdin or "", env=self.lab.environment(), timeout=timeout_s, check=False,
                              cwd=self.lab.directory)
        require(done.returncode == 0, f"{' '.join(command[4:])} (on {node}) failed: {done.stderr.strip()}")
        return done.stdout

    def show(self, node, *argv, stdin=None):
        """The same, as a reader would type it, with what it prints."""
        say(paint("1", f"{node}# {' '.join(map(str, argv))}"))
        said = self.run(node, *argv, stdin=stdin)
        print("".join(f"  {line}\n" for line in said.splitlines()), end="", flush=True)
        return said

    def spawn(self, node, *argv):
        command = namespaces.inside(self.lab.node(node).namespace, *map(str, argv))
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=self.lab.environment())
        self.children.append(child)
        return child

    def watch(self, node, match, **where):
        made = Watch(self.lab.node(node).namespace, match, **where)
        self.watches.append(made)
        return made

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()
        self.children.clear()
        for made in self.watches:
            with contextlib.suppress(subprocess.CalledProcessError):
                made.remove()
        self.watches.clear()

    def next_hops(self, vip):
        words = self.run("router1", "ip", "route", "show", vip).split()
        return [words[i + 1] for i, word in enumerate(words) if word == "via"]

    def mux_names(self):
        return [node.name for node in self.lab.topo.of_kind("mux")]

    # --- chapters

    def tell(self):
        for chapter in (self.vip, self.routes, self.spread, self.direct_return, self.four_shapes, self.outbound, self.mux_dies,
                        self.dip_drained, self.leader_dies):
            chapter()
            self.close()

    def vip(self):
        heading("2. An operator defines a VIP")
        with open(f"{self.lab.directory}/web.json", "w", encoding="utf-8") as file:
            file.write(self.document(VIP, WEIGHTS))
        self.show("mgr1", "cat", "web.json")
        self.show("mgr1", "anantactl", "vip", "apply", "-f", "web.json")
        self.show("mgr1", "anantactl", "vip", "list")

    @staticmethod
    def document(vip, weights):
        dips = [json.dumps({"dip": f"10.1.{vm[2]}.{10 + int(vm[4])}", "port": 8080, "weight": weight}) for vm, weight in weights.items()]
        return (f'{{ "vip": "{vip}", "tenant": "shop",\n  "endpoints": [\n    {{ "name": "web", "protocol": "tcp", "port": 80,\n      "dips": [ '
                + ",\n                ".join(dips) + " ] } ] }\n")

    def routes(self):
        heading("3. The muxes announce it by BGP, the router has a next hop for each")
        eventually(lambda: len(self.next_hops(VIP)) == 2, "two next hops on router1")
        said = self.show("router1", "ip", "route", "show", VIP)
        require("10.0.0.31" in said and "10.0.0.32" in said, "router1 does not have both muxes as next hops")

    def spread(self):
        heading(f"4. {REQUESTS} requests from the Internet, spread over VMs on three hosts")
        say(paint("1", f"client1# curl http://{VIP}/     ({REQUESTS} times, each in a connection of its own)"))
        # One curl for each request, so that no connection is used twice.
        loop = f"for i in $(seq {REQUESTS}); do curl -sS --max-time 10 http://{VIP}/ || exit 1; done"
        answers = self.run("client1", "sh", "-c", loop, timeout_s=60).split()
        require(len(answers) == REQUESTS, f"{len(answers)} of {REQUESTS} requests were answered")
        counts = {vm: answers.count(vm) for vm in WEIGHTS}
        require(sum(counts.values()) == REQUESTS, f"others than the DIPs of the VIP answered: {set(answers) - set(WEIGHTS)}")
        total = sum(WEIGHTS.values())
        say("  VM      weight  share by weight  answered")
        for vm, weight in WEIGHTS.items():
            say(f"  {vm:6s}  {weight:6d}  {REQUESTS * weight / total:15.0f}  {counts[vm]:8d}  {paint('34', '#' * (counts[vm] // 5))}")
        distance = sum((counts[vm] - REQUESTS * w / total) ** 2 / (REQUESTS * w / total) for vm, w in WEIGHTS.items())
        require(distance < CHI_SQUARE_LIMIT, f"the shares {counts} are too far from the weights {WEIGHTS}")
        good(f"  all {REQUESTS} answered; chi-square {distance:.1f} (chance alone stays below {CHI_SQUARE_LIMIT})")

    def direct_return(self):
        heading("5. The answers go straight back: no mux sees them")
        ports = "{ " + ", ".join(f'"{name}"' for name in self.mux_names()) + " }"
        at_muxes = {"family": "bridge", "hook": "forward"}
        to_muxes = self.watch("fabric", f"oifname {ports} ip daddr {VIP}", **at_muxes)
        from_muxes = self.watch("fabric", f"iifname {ports} ip protocol 4", **at_muxes)
        answers = [self.watch("fabric", f"{side} {ports} ip saddr {VIP}", **at_muxes) for side in ("iifname", "oifname")]
        at_client = self.watch("client1", f"ip saddr {VIP}")
        checksum = self.run("client1", "sh", "-c", f"curl -sS --max-time 60 http://{VIP}/big | sha256sum").split()[0]
        require(checksum == self.big_checksum(), "the download's checksum is wrong")
        say("a download of 64 MiB, counted on the wires of both muxes and at the client:")
        eventually(lambda: to_muxes.packets() == from_muxes.packets() > 0, "what went to the muxes has left them again")
        in_n, back_n, arrived_n = to_muxes.packets(), sum(w.packets() for w in answers), at_client.packets()
        for way, what, n in (("client -> mux", "requests and acknowledgements", in_n), ("mux -> host", "the same, encapsulated", in_n),
                             ("host -> mux", "answers", back_n), ("host -> client", "answers", arrived_n)):
            say(f"  {way:15s}  {what:30s}  {n:8d} packets")
        require(back_n == 0, "a mux has seen answers")
        require(arrived_n > 0, "the client has seen no answers")
        good("  in, never back; and the checksum of what arrived is right")

    def big_checksum(self):
        with open(f"{self.lab.directory}/big", "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def four_shapes(self):
        heading("6. One packet in its four shapes")
        port = 40001
        syn, syn_ack = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)"
        sniffers = {
            "sent": [("client1", "eth0", f"dst host {VIP} and src port {port} and {syn}")],
            "encapsulated": [("fabric", "fabric", "ip proto 4 and (src host 10.0.0.31 or src host 10.0.0.32)")],
            "delivered": [(vm, "eth0", f"dst port 8080 and src port {port} and {syn}") for vm in WEIGHTS],
            "answered": [("client1", "eth0", f"src host {VIP} and dst port {port} and {syn_ack}")],
        }
        running = {shape: [(node, self.sniff(node, interface, match)) for node, interface, match in places] for shape, places in sniffers.items()}
        vm = self.run("client1", "curl", "-sS", "--max-time", 10, "--local-port", port, f"http://{VIP}/").strip()
        expected = {
            "sent": ("as the client sent it (client1)", "client1", rf"198\.51\.100\.11\.{port} > {VIP}\.80: "),
            "encapsulated": ("between mux and host", "fabric", rf"10\.0\.0\.3[12] > 10\.1\..*198\.51\.100\.11\.{port} > {VIP}\.80: "),
            "delivered": (f"in the VM ({vm})", vm, rf"198\.51\.100\.11\.{port} > 10\.1\.[0-9.]+\.8080: "),
            "answered": ("its answer, back at the client", "client1", rf"{VIP}\.80 > 198\.51\.100\.11\.{port}: "),
        }
        for shape, (where, node, pattern) in expected.items():
            child = next(child for name, child in running[shape] if name == node)
            line = self.first_line(child)
            require(re.search(pattern, line), f"the packet {where} looks wrong: {line}")
            say(f"  {paint('1', where)}\n    {line.split(', win ')[0].split(', options')[0]}")

    def sniff(self, node, interface, match):
        child = self.spawn(node, "tcpdump", "-nn", "-t", "-l", "-c", "1", "--immediate-mode", "-i", interface, match)
        for line in child.stderr:
            if line.startswith("listening on"):
                return child
        raise StoryError(f"tcpdump on {node} does not start")

    @staticmethod
    def first_line(child):
        try:
            said, _ = child.communicate(timeout=10)
        except subprocess.TimeoutExpired as error:
            raise StoryError("a packet was not seen where it should pass") from error
        return said.strip()

    def outbound(self):
        heading("7. VMs reach the Internet with the VIP as their source")
        with open(f"{self.lab.directory}/web.json", encoding="utf-8") as file:
            vip = json.load(file)
        vip["snat"] = {"dips": [f"10.1.{vm[2]}.{10 + int(vm[4])}" for vm in WEIGHTS]}
        with open(f"{self.lab.directory}/web.json", "w", encoding="utf-8") as file:
            file.write(json.dumps(vip))
        say(f'the VIP gets  "snat": {json.dumps(vip["snat"])}')
        self.show("mgr1", "anantactl", "vip", "apply", "-f", "web.json")
        server = self.spawn("client1", "python3", "-c", PEER_SERVER)
        require(server.stdout.readline() == "ready\n", "the server on client1 does not start")
        ports = "{ " + ", ".join(f'"{name}"' for name in self.mux_names()) + " }"
        out = self.watch("fabric", f"oifname {ports} ip daddr {CLIENT} tcp dport 7000", family="bridge", hook="forward")
        back = self.watch("fabric", f"oifname {ports} ip saddr {CLIENT} ip daddr {VIP} tcp sport 7000", family="bridge", hook="forward")
        eventually(lambda: self.run("vm1-1", "curl", "-sS", "--max-time", 10, f"http://{CLIENT}:7000/").split()[0] == VIP, "ports are leased")
        for vm in WEIGHTS:
            said = self.show(vm, "curl", "-sS", "--max-time", 10, f"http://{CLIENT}:7000/")
            require(said.split()[0] == VIP, f"{vm} is not seen as the VIP")
        say("(the server says how it sees its peer)")
        self.show("mgr1", "anantactl", "snat", "show", VIP)
        seen_port = said.split()[1]
        self.show("mgr1", "anantactl", "snat", "whohad", f"{VIP}:{seen_port}")
        require(out.packets() == 0, "a mux has seen outbound packets")
        require(back.packets() > 0, "no mux has seen the replies")
        good("  out directly, no mux sees it; the replies come back through any mux, which knows the lease and no connection")

    def mux_dies(self):
        heading("8. A mux is killed in the middle of a download")
        carried = {mux: self.watch("fabric", f'oifname "{mux}" ip daddr {VIP}', family="bridge", hook="forward") for mux in self.mux_names()}
        path = f"{self.lab.directory}/download"
        download = self.spawn("client1", "curl", "-sS", "--max-time", 60, "-o", path, f"http://{VIP}/slow/big")
        eventually(lambda: os.path.exists(path) and os.path.getsize(path) > 16 << 20, "a quarter of the download has arrived")
        mux = max(carried, key=lambda name: carried[name].packets())
        say(f"{os.path.getsize(path) >> 20} of 64 MiB have arrived; the client's packets go through {mux}:")
        say(paint("1", f"# lab kill {mux}"))
        self.lab.kill(self.lab.node(mux), signal.SIGKILL)
        eventually(lambda: len(self.next_hops(VIP)) == 1, "the dead mux's route is withdrawn")
        self.show("router1", "ip", "route", "show", VIP)
        _, complaint = download.communicate(timeout=60)
        require(download.returncode == 0, f"the download broke: {complaint.strip()}")
        with open(path, "rb") as file:
            checksum = hashlib.sha256(file.read()).hexdigest()
        os.unlink(path)
        require(checksum == self.big_checksum(), "the download's checksum is wrong")
        good(f"  the download went on through the other mux and is whole: sha256 {checksum[:16]}...")
        say(paint("1", f"# lab start {mux}"))
        self.lab.start(self.lab.node(mux))
        eventually(lambda: len(self.next_hops(VIP)) == 2, f"{mux} announces again")
        say("  and the router has two next hops again")

    def dip_drained(self):
        heading("9. A DIP is drained and a mux killed in the same second: the case that breaks connections elsewhere")
        whole, path, mux = f"{self.lab.directory}/download", f"{self.lab.directory}/answered-by", self.mux_names()[0]
        # Two requests in one connection: the first one tells which VM it is.
        download = self.spawn("client1", "curl", "-sS", "--max-time", 60, "-o", path, f"http://{VIP}/", "-o", whole, f"http://{VIP}/slow/big")
        eventually(lambda: os.path.exists(whole) and os.path.getsize(whole) > 16 << 20, "a quarter of the download has arrived")
        with open(path, encoding="utf-8") as file:
            vm = file.read().strip()
        say(f"{os.path.getsize(whole) >> 20} of 64 MiB have arrived, from {vm}:")
        self.show("mgr1", "anantactl", "dip", "drain", self.lab.node(vm).address)
        say(paint("1", f"# lab kill {mux}"))
        self.lab.kill(self.lab.node(mux), signal.SIGKILL)
        eventually(lambda: vm not in self.answers(60), f"{vm} gets no new connections")
        self.show("mgr1", "anantactl", "dip", "list")
        _, complaint = download.communicate(timeout=60)
        require(download.returncode == 0, f"the download broke: {complaint.strip()}")
        with open(whole, "rb") as file:
            checksum = hashlib.sha256(file.read()).hexdigest()
        os.unlink(whole)
        os.unlink(path)
        require(checksum == self.big_checksum(), "the download's checksum is wrong")
        good(f"  {vm} got none of 60 new connections, and the download went on there to its end: sha256 {checksum[:16]}...")
        self.show("mgr1", "anantactl", "dip", "undrain", self.lab.node(vm).address)
        say(paint("1", f"# lab start {mux}"))
        self.lab.start(self.lab.node(mux))
        eventually(lambda: len(self.next_hops(VIP)) == 2, f"{mux} announces again")

    def answers(self, n):
        """Which VMs answer n connections."""
        return set(self.run("client1", "sh", "-c", f"for i in $(seq {n}); do curl -sS --max-time 10 http://{VIP}/ || exit 1; done", timeout_s=60).split())

    def leader_dies(self):
        heading("10. The leader of the managers is killed, and a VIP added right after")
        self.show("mgr1", "anantactl", "cluster", "status")
        leader = self.lab.control().leader()
        other = next(node.name for node in self.lab.topo.of_kind("mgr") if node.name != leader)
        say(paint("1", f"# lab kill {leader}"))
        self.lab.kill(self.lab.node(leader), signal.SIGKILL)
        began = time.monotonic()
        self.show(other, "anantactl", "vip", "apply", "-f", "-", stdin=self.document(SECOND_VIP, {"vm1-2": 1, "vm2-2": 1, "vm3-2": 1}))
        accepted = time.monotonic() - began
        eventually(lambda: len(self.next_hops(SECOND_VIP)) == 2, "the second VIP is announced")
        self.show("client1", "curl", "-sS", "--max-time", 10, f"http://{SECOND_VIP}/")
        say(f"  accepted after {accepted:.1f} s, answering after {time.monotonic() - began:.1f} s; and the first VIP has never noticed:")
        self.show("client1", "curl", "-sS", "--max-time", 10, f"http://{VIP}/")
        say(paint("1", f"# lab start {leader}"))
        self.lab.start(self.lab.node(leader))
        eventually(lambda: sorted(row["role"] for row in self.roles(other)) == ["follower", "follower", "leader"], f"{leader} follows")
        self.show(other, "anantactl", "cluster", "status")

    def roles(self, node):
        try:
            return json.loads(self.run(node, "anantactl", "-o", "json", "cluster", "status"))["replicas"]
        except StoryError:
            return []


def bring_up(lab):
    heading("1. A data centre in network namespaces")
    if lab.down():
        say(f"(the lab '{PREFIX}' of an earlier run was taken down)")
    say(PICTURE)
    began = time.monotonic()
    lab.up(topology.Sizes(), "af_xdp", False, "", 60, lambda text: say(f"  {time.monotonic() - began:5.1f} s  {text}"))


def the_end(command):
    heading("The lab is still up: play on")
    for what, line in (
        ("a shell of an operator", f"{command} shell --name {PREFIX}        (then: anantactl mux list)"),
        ("a client on the Internet", f"{command} exec --name {PREFIX} client1 -- curl http://{VIP}/whoami"),
        ("all nodes and programs", f"{command} status --name {PREFIX}"),
        ("break something", f"{command} kill --name {PREFIX} mux1"),
        ("take it away", f"{command} down --name {PREFIX}"),
        ("one of your own", f"{command} up --hosts 4 --vms 4 --routers 2"),
    ):
        say(f"  {what:25s}  {line}")


def interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    lab = lifecycle.Lab(PREFIX)
    story = Story(lab)
    keep = False
    began = time.monotonic()
    try:
        bring_up(lab)
        story.tell()
        keep = "--down" not in sys.argv[1:]
        good(f"\neverything above was real and checked, in {time.monotonic() - began:.0f} s")
        if keep:
            the_end(os.path.relpath(os.path.join(lifecycle.HERE, "lab")))
        return 0
    except KeyboardInterrupt:
        say("\ninterrupted")
        return 130
    except (StoryError, lifecycle.LabError, namespaces.NamespaceError, processes.ProcessError, control.Refused, subprocess.SubprocessError) as error:
        print(paint("31", f"\nThe demo stops: {error}"), file=sys.stderr)
        return 1
    finally:
        story.close()
        if not keep:
            lifecycle.uninterrupted()
            lab.down()


if __name__ == "__main__":
    sys.exit(main())
