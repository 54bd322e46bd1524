"""What lab tests are written with: a lab, things to do in it, and waiting for an event.

Tests share one lab of default size, because bringing one up costs more than most tests. Before each test the lab is repaired
(programs started, partitions healed), and made anew when that fails. Every test has a VIP of its own, which goes with it.
"""

import hashlib
import itertools
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
TOOLS = os.path.join(HERE, "tools")
LAB = os.path.join(REPOSITORY, "deploy", "lab", "lab")
sys.path.insert(0, os.path.dirname(LAB))

import watch  # noqa: E402  (found through the line above)

STATE_ROOT = "/run/ananta-lab"
POLL_S = 0.05
DEADLINE_S = 30

# Not exceeded by chance in one of a million runs: chi-square by degrees of freedom.
CHI_SQUARE_LIMIT = {1: 23.9, 2: 27.6, 3: 30.7, 4: 33.4, 5: 35.9}

# The prefix carries the repository's path: two clones on one machine do not meet.
PREFIX = os.environ.get("ANANTA_TEST_LAB") or "t" + hashlib.sha256(REPOSITORY.encode()).hexdigest()[:5]


def eventually(condition, what, deadline_s=DEADLINE_S):
    """Polls until condition() is true, and returns what it returned. Fails with `what`, and what the last attempt said."""
    deadline = time.monotonic() + deadline_s
    while True:
        last_words = ""
        try:
            result = condition()
            if result:
                return result
        except (subprocess.SubprocessError, AssertionError, KeyError, ValueError) as error:
            last_words = f" ({describe(error)})"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {what}{last_words}")
        time.sleep(POLL_S)


def describe(error):
    if isinstance(error, subprocess.CalledProcessError):
        return f"{shlex.join(map(str, error.cmd))}: exit code {error.returncode}: {(error.stderr or error.stdout or '').strip()}"
    return f"{type(error).__name__}: {error}"


class Lab:
    """One lab, by way of the same command line that people use."""

    def __init__(self, prefix, **sizes):
        self.prefix = prefix
        self.sizes = sizes
        self.children = []
        self.directory = f"{STATE_ROOT}/{prefix}"

    # --- the lab command

    def lab(self, *arguments, check=True, timeout_s=120, stdin=""):
        return subprocess.run([LAB, "--name", self.prefix, *map(str, arguments)], capture_output=True, text=True, check=check,
                              timeout=timeout_s, input=stdin)

    def up(self, *more):
        done = self.lab("up", "--quiet", *more, *itertools.chain(*((f"--{name}", n) for name, n in self.sizes.items())), check=False)
        if done.returncode != 0:
            raise AssertionError(f"lab up: {done.stderr.strip()}")
        return self

    def down(self):
        self.reap()
        self.lab("down")

    def status(self):
        return {row["node"]: row for row in json.loads(self.lab("status", "-o", "json").stdout)}

    def start(self, node):
        self.lab("start", node)

    def kill(self, node, number="KILL"):
        self.lab("kill", node, number)

    def partition(self, node):
        self.lab("partition", node)

    def heal(self, node):
        self.lab("heal", node)

    def log_tail(self, node, lines):
        return self.lab("logs", node, check=False).stdout.splitlines()[-lines:]

    # --- inside its nodes

    def exec(self, node, *argv, **more):
        """Runs to its end; .stdout and .stderr are text."""
        return self.lab("exec", node, "--", *argv, **more)

    def spawn(self, node, *argv):
        """Runs beside the test; ended with it."""
        child = subprocess.Popen([LAB, "--name", self.prefix, "exec", node, "--", *map(str, argv)], text=True, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def reap(self):
        """Ends what spawn() has started."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        self.children.clear()

    def tool(self, node, name, *arguments, timeout_s=120):
        """The JSON object that a program of tools/ prints."""
        return json.loads(self.exec(node, "python3", f"{TOOLS}/{name}.py", *arguments, timeout_s=timeout_s).stdout)

    def serve(self, vm, kind, port, *more):
        """A server of tools/server.py in a VM; returns once it listens."""
        child = self.spawn(vm, "python3", f"{TOOLS}/server.py", kind, port, *more)
        assert child.stdout.readline() == "ready\n", f"{kind} does not start in {vm}"
        return child

    # --- anantactl

    def anantactl(self, *arguments, node="mgr1", **more):
        return self.exec(node, "anantactl", *arguments, **more)

    def ask(self, *arguments, **more):
        """What `anantactl -o json` prints, parsed."""
        return json.loads(self.anantactl("-o", "json", *arguments, **more).stdout)

    def apply(self, document, **more):
        return self.anantactl("vip", "apply", "-f", "-", stdin=document if isinstance(document, str) else json.dumps(document), **more)

    def leader(self):
        """The name of the leading manager, as the first one that lives and is not cut off sees it; None while there is none."""
        for node, row in self.status().items():
            if node.startswith("mgr") and row["programs"][0]["state"] == "running" and not row["partitioned"]:
                return next((f"mgr{replica['id']}" for replica in self.replicas(node) if replica["role"] == "leader"), None)
        return None

    def replicas(self, node="mgr1"):
        """The rows of `cluster status`, asked from a node."""
        return self.ask("cluster", "status", node=node)["replicas"]

    def counters(self, kind, name):
        """Counter values of a "mux" or "host"."""
        return self.ask(kind, "show", name)["counters"]

    def attach(self, vm, host=None, check=True, address=None, via=None):
        """Attaches a VM by its IPv4 address, or by another one; the lab has done so for all of them, by both, when it came up."""
        h, n = vm.removeprefix("vm").split("-")
        return self.anantactl("host", "attach", host or f"host{h}", "--name", vm, "--dip", address or dip(vm), "--interface", f"vm{n}",
                              "--mac", self.mac(vm), *(["--via", via] if via else []), check=check)

    def detach(self, vm, address=None):
        h, _ = vm.removeprefix("vm").split("-")
        return self.anantactl("host", "detach", f"host{h}", "--dip", address or dip(vm))

    def mac(self, vm):
        return self.exec(vm, "cat", "/sys/class/net/eth0/address").stdout.strip()

    # --- looking

    def routes(self, vip, router="router1"):
        """The muxes that a router sends a VIP's packets to."""
        words = self.exec(router, "ip", "-6" if ":" in vip else "-4", "route", "show", vip).stdout.split()
        return sorted(f"mux{int(words[i + 1].replace(':', '.').rpartition('.')[2]) - 30}" for i, word in enumerate(words) if word == "via")

    def all_muxes(self):
        return [node for node in self.status() if node.startswith("mux")]

    def wait_announced(self, vip, muxes=None, router="router1"):
        want = sorted(muxes if muxes is not None else self.all_muxes())
        eventually(lambda: self.routes(vip, router) == want, f"{router} sends {vip} to {want}")

    def http(self, vip, connections=1, requests=1, client="client1", port=80, sequential=False, timeout=15):
        """http_load against a VIP: {"answers": {...}, "errors": [...]}."""
        return self.tool(client, "http_load", f"{in_url(vip)}:{port}", "--connections", connections, "--requests", requests, "--timeout", timeout,
                         *(["--sequential"] if sequential else []))

    def start_download(self, vip, path="/slow/big", client="client1"):
        """A download beside the test; checksum_of() waits for it."""
        return self.spawn(client, "sh", "-c", f"curl -sS --max-time 100 http://{in_url(vip)}{path} | sha256sum")

    @staticmethod
    def checksum_of(download):
        return download.communicate(timeout=120)[0].split()[0]

    def big_checksum(self):
        """What every whole download must have."""
        return hashlib.sha256(pathlib.Path(self.big_file()).read_bytes()).hexdigest()

    def big_file(self):
        return f"{self.directory}/big"

    def watch(self, node, match, family="inet", hook="prerouting"):
        """Counts packets in a node that match an nftables expression."""
        return watch.Watch(f"{self.prefix}-{node}", match, family, hook)

    # --- repair

    def repair(self):
        """Starts what is dead, goes on with what is stopped, heals what is cut, undrains what is drained, and waits until all is well."""
        for name, row in self.status().items():
            if row["partitioned"]:
                self.heal(name)
            for program in row["programs"]:
                if program["state"] == "stopped":
                    self.lab("kill", name, "CONT", "--program", program["program"])
                elif program["state"] != "running":
                    self.lab("start", name, "--program", program["program"])
        for row in eventually(lambda: self.ask("dip", "list"), "an answer"):
            if row["drains"]:
                self.anantactl("dip", "undrain", row["dip"])
        for row in self.ask("mux", "list"):
            if row["state"] in ("draining", "drained"):
                self.anantactl("mux", "undrain", row["name"])
        eventually(self.is_well, "the lab is whole again")

    def forget(self):
        """Takes away the VIPs and settings of tests that ended while no manager led."""
        for row in self.ask("vip", "list"):
            self.anantactl("vip", "delete", row["vip"])
        self.anantactl("settings", "reset")

    def is_well(self):
        muxes = {row["name"]: row["state"] for row in self.ask("mux", "list")}
        hosts = {row["name"]: row["state"] for row in self.ask("host", "list")}
        dips = {row["dip"]: row["state"] for row in self.ask("dip", "list") if row["health"] != "host-gone"}
        replicas = self.replicas()
        roles = sorted(row["role"] for row in replicas)
        terms = {row.get("term") for row in replicas}  # one: every replica has heard from this leader
        nodes = self.status()
        return (all(muxes.get(n, "down") != "down" for n in nodes if n.startswith("mux"))
                and all(hosts.get(n) == "ready" for n in nodes if n.startswith("host"))
                and all(dips.get(address(n)) == "attached" for n in nodes if n.startswith("vm") for address in (dip, dip6))
                and roles == ["follower"] * (len(roles) - 1) + ["leader"] and len(terms) == 1)


def dip(vm):
    """"vm2-1" -> "10.1.2.11"."""
    h, n = vm.removeprefix("vm").split("-")
    return f"10.1.{h}.{10 + int(n)}"


def dip6(vm):
    """"vm2-1" -> "2001:db8:1:2::11"."""
    h, n = vm.removeprefix("vm").split("-")
    return f"2001:db8:1:{h}::{10 + int(n)}"


def in_url(address):
    """As it stands before a port."""
    return f"[{address}]" if ":" in address else address


def endpoint(vms, port=80, dip_port=8080, protocol="tcp", name="web", family=4):
    """`vms`: {"vm1-1": weight} or a list of names."""
    weights = vms if isinstance(vms, dict) else {vm: 1 for vm in vms}
    return {"name": name, "protocol": protocol, "port": port,
            "dips": [{"dip": dip(vm) if family == 4 else dip6(vm), "port": dip_port, "weight": weight} for vm, weight in weights.items()]}


def document(vip, *endpoints, tenant="test"):
    return {"vip": vip, "tenant": tenant, "endpoints": list(endpoints)}


def chi_square(counts, weights):
    """How far counts by name are from what weights by name promise."""
    total, total_weight = sum(counts.values()), sum(weights.values())
    return sum((counts.get(name, 0) - total * weight / total_weight) ** 2 / (total * weight / total_weight) for name, weight in weights.items())


class Labs:
    """The labs of this test run."""

    shared = None
    others = []
    keep = False
    n_failed_ups = 0

    @classmethod
    def get_shared(cls):
        """The shared lab, whole: repaired, or made anew when that does not help."""
        if cls.shared is not None:
            try:
                cls.shared.repair()
                cls.shared.forget()
                return cls.shared
            except (AssertionError, subprocess.SubprocessError, KeyError, ValueError):
                cls.drop_shared()
        if cls.n_failed_ups >= 2:
            raise AssertionError("the shared lab has failed to come up twice")
        cls.n_failed_ups += 1
        cls.shared = Lab(PREFIX).up()
        cls.n_failed_ups = 0
        return cls.shared

    @classmethod
    def remove_leftovers(cls):
        """Takes away what a test run that was killed has left."""
        listed = subprocess.run([LAB, "list", "-o", "json"], capture_output=True, text=True, check=True).stdout
        for row in json.loads(listed):
            if row["name"].startswith(PREFIX):
                Lab(row["name"]).down()

    @classmethod
    def drop_shared(cls):
        if cls.shared is not None:
            cls.shared.down()
            cls.shared = None

    @classmethod
    def make(cls, letter, **sizes):
        """A lab beside the shared one, not up yet. The letter tells it from others."""
        lab = Lab(PREFIX + letter, **sizes)
        cls.others.append(lab)
        return lab

    @classmethod
    def close(cls):
        for lab in cls.others:
            lab.down()
        cls.others.clear()
        if cls.keep and cls.shared is not None:
            cls.shared.reap()
            print(f"the lab '{cls.shared.prefix}' was kept: deploy/lab/lab shell --name {cls.shared.prefix}")
        else:
            cls.drop_shared()


class LabTest(unittest.TestCase):
    """A test in the shared lab, with a VIP of its own."""

    last_byte = itertools.cycle(range(10, 250))

    def setUp(self):
        self.lab = Labs.get_shared()
        last_byte = next(self.last_byte)
        self.vip = f"203.0.113.{last_byte}"
        self.vip6 = f"2001:db8:5::{last_byte}"
        self.addCleanup(self.lab.reap)

    def apply(self, *endpoints, lab=None, vip=None, wait=True):
        """Configures the test's VIP, waits until the routers know it, and takes it away with the test."""
        lab, vip = lab or self.lab, vip or self.vip
        self.addCleanup(lambda: lab.anantactl("vip", "delete", vip, check=False))  # first: a refusal may have been too late
        lab.apply(document(vip, *endpoints))
        if wait:
            lab.wait_announced(vip)

    def assert_answers(self, outcome, names, n=None):
        """No errors; every one of the names, and no other, has answered."""
        self.assertEqual(outcome["errors"], [])
        self.assertEqual(sorted(outcome["answers"]), sorted(names))
        if n is not None:
            self.assertEqual(sum(outcome["answers"].values()), n)

    def assert_spread(self, answers, weights):
        limit = CHI_SQUARE_LIMIT[len(weights) - 1]
        self.assertLess(chi_square(answers, weights), limit, f"{answers} is not spread by the weights {weights}")

    def watch(self, *arguments, **more):
        made = self.lab.watch(*arguments, **more)
        self.addCleanup(made.remove)
        return made
