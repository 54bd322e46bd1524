"""Chaos in the manner of Jepsen: clients configure and read while managers are killed, stopped, cut off, and lose disk and clock.

  tests/chaos/run [--seconds N] [--seed N] [--name PREFIX] [--keep]

Brings up a lab of its own (3 managers, 2 muxes, 3 hosts), and for N seconds (default 60) lets clients apply and read VIPs, and VMs make
connections that need new SNAT ports, while one fault follows the other. Then everything is healed, and judged: is the history of each VIP
linearisable, do the acknowledged writes stand, was any port leased twice, are the replicas equal? The seed is printed, and decides
which faults come when; what the clients do in between depends on the machine, too. Exit code 0: all is well.
"""

import argparse
import collections
import json
import math
import os
import random
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(REPOSITORY, "tests", "lab")]

import history  # noqa: E402
from harness import TOOLS, Lab, dip, eventually  # noqa: E402

MANAGERS = ("mgr1", "mgr2", "mgr3")
VMS = ("vm1-1", "vm2-1", "vm3-1")
VIPS = [f"203.0.113.{n}" for n in range(201, 206)]
SNAT_VIP = "203.0.113.210"
PEER = "198.51.100.11"
PEER_PORTS = range(7601, 7605)
N_CLIENTS = 3
UNREACHABLE = 3  # anantactl's exit code when it does not know what came of it
OPERATION_S = 20


class Operator:
    """anantactl from inside a manager's namespace, without the lab command in between: a few milliseconds each."""

    def __init__(self, lab):
        self.lab = lab
        said = lab.exec("mgr1", "env", "-0").stdout
        self.environment = dict(entry.split("=", 1) for entry in said.split("\0") if "=" in entry)

    def run(self, node, *arguments, stdin=""):
        """(exit code, standard output, standard error)."""
        argv = ["ip", "netns", "exec", f"{self.lab.prefix}-{node}", "anantactl", *arguments]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=self.environment, timeout=OPERATION_S, check=False)
        except subprocess.TimeoutExpired:
            return UNREACHABLE, "", "no answer"
        return done.returncode, done.stdout, done.stderr


def value_of(shown):
    """What a write wrote, in a VIP as it is shown: the name of its endpoint."""
    return json.loads(shown)["endpoints"][0]["name"]


class Client(threading.Thread):
    """Applies and reads VIPs, and notes what it saw."""

    def __init__(self, number, operator, seed, over):
        super().__init__(name=f"client{number}")
        self.number = number
        self.operator = operator
        self.random = random.Random(seed * 1000 + number)
        self.over = over
        self.operations = []
        self.refusals = set()
        self.failure = ""

    def run(self):
        n = 0
        try:
            while not self.over.is_set():
                n += 1
                vip = self.random.choice(VIPS)
                if self.random.random() < 0.5:
                    self.write(vip, f"c{self.number}-{n}")
                else:
                    self.read(vip)
        except Exception as error:  # the judge must hear of it: a client that died has seen nothing wrong
            self.failure = f"{self.name}: {type(error).__name__}: {error}"

    def write(self, vip, value):
        vms = self.random.sample(VMS, self.random.randint(1, len(VMS)))
        document = {"vip": vip, "tenant": "chaos", "endpoints": [
            {"name": value, "protocol": "tcp", "port": 80, "dips": [{"dip": dip(vm), "port": 8080, "weight": 1} for vm in vms]}]}
        begin = time.monotonic()
        code, said, complaint = self.operator.run(self.random.choice(MANAGERS), "-o", "json", "vip", "apply", "-f", "-",
                                                  stdin=json.dumps(document))
        end = time.monotonic()
        if code == 0:
            self.note("write", vip, value, begin, end, history.ACKNOWLEDGED, json.loads(said)["version"])
        elif code == UNREACHABLE:
            self.note("write", vip, value, begin, math.inf, history.UNKNOWN)
        else:
            self.note("write", vip, value, begin, end, history.REFUSED)
            self.refusals.add(complaint.strip())

    def read(self, vip):
        begin = time.monotonic()
        code, said, complaint = self.operator.run(self.random.choice(MANAGERS), "-o", "json", "vip", "show", vip)
        end = time.monotonic()
        if code == 0:
            self.note("read", vip, value_of(said), begin, end)
        elif code != UNREACHABLE and "not configured" in complaint:
            self.note("read", vip, "", begin, end)
        elif code != UNREACHABLE:
            raise AssertionError(f"vip show: exit code {code}: {complaint}")

    def note(self, *fields):
        self.operations.append(history.Operation(*fields))


class Leases(threading.Thread):
    """VMs that need ever more ports, and a look at the leases each second."""

    def __init__(self, operator, over):
        super().__init__(name="leases")
        self.operator = operator
        self.over = over
        self.problems = []
        self.n_looks = 0
        self.most = 0

    def run(self):
        n = 0
        while not self.over.is_set():
            vm = VMS[n % len(VMS)]
            n += 1
            subprocess.run(["ip", "netns", "exec", f"{self.operator.lab.prefix}-{vm}", "python3", f"{TOOLS}/outbound.py", "tcp", PEER,
                            *map(str, PEER_PORTS), "--connections", "800", "--timeout", "2", "--reset"], capture_output=True, timeout=60, check=False)
            code, said, _ = self.operator.run("mgr1", "-o", "json", "snat", "list", "--vip", SNAT_VIP)
            if code == 0:
                rows = json.loads(said)
                self.n_looks += 1
                self.most = max(self.most, len(rows))
                self.problems += history.double_leases(rows)


class Nemesis:
    """One fault after the other, each healed before the next: so a majority lives nearly always."""

    def __init__(self, lab, seed):
        self.lab = lab
        self.random = random.Random(seed)
        self.counts = collections.Counter()

    def wait(self, least, most):
        time.sleep(least + self.random.random() * (most - least))

    def one(self):
        faults = (self.kill, self.stop, self.partition, self.hears_nothing, self.says_nothing, self.full_disk, self.slow_disk, self.clock, self.kill_all)
        fault = self.random.choice(faults)
        self.counts[fault.__name__] += 1
        leader = self.lab_leader()
        node = leader if leader is not None and self.random.random() < 0.6 else self.random.choice(MANAGERS)
        fault(node)
        self.wait(0.3, 1.5)

    def lab_leader(self):
        try:
            return self.lab.leader()
        except (subprocess.SubprocessError, ValueError, KeyError):
            return None

    def kill(self, node):
        self.lab.kill(node)
        self.wait(0.3, 2)
        self.lab.start(node)

    def kill_all(self, _):
        for node in MANAGERS:
            self.lab.kill(node)
        for node in MANAGERS:
            self.lab.start(node)

    def stop(self, node):
        self.lab.kill(node, "STOP")
        self.wait(1, 4)
        self.lab.kill(node, "CONT")

    def partition(self, node):
        self.lab.partition(node)
        self.wait(1, 4)
        self.lab.heal(node)

    def one_way(self, node, direction):
        table = f"bridge chaos_{node}"
        rule = f'table {table} {{ chain c {{ type filter hook forward priority 0; {direction} "{node}" drop; }}; }}'
        self.lab.exec("fabric", "nft", rule)
        self.wait(1, 4)
        self.lab.exec("fabric", "nft", f"delete table {table}")

    def hears_nothing(self, node):
        self.one_way(node, "oifname")

    def says_nothing(self, node):
        self.one_way(node, "iifname")

    def faults_of(self, node, text):
        path = f"{self.lab.directory}/{node}/faults"
        if not text:
            os.unlink(path)
            return
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def disturb(self, node, text, least, most):
        self.faults_of(node, text)
        self.wait(least, most)
        self.faults_of(node, "")
        if self.lab.status()[node]["programs"][0]["state"] == "dead":  # it may end itself, and is started again as systemd would
            self.lab.start(node)

    def full_disk(self, node):
        self.disturb(node, "full", 1, 4)

    def slow_disk(self, node):
        self.disturb(node, "slow=150", 1, 4)

    def clock(self, node):
        self.disturb(node, f"clock={self.random.choice((-86400000, -5000, 5000, 86400000))}", 1, 4)


def replicas_that_agree(lab):
    """The state of the replicas as one, or nothing while they differ."""
    rows = lab.replicas()
    states = {tuple(row.get(field) for field in ("term", "applied", "version", "digest")) for row in rows}
    return states.pop() if len(states) == 1 and None not in [row.get("applied") for row in rows] else None


def prepare(lab):
    child = lab.spawn("client1", "python3", f"{TOOLS}/peer_server.py", *PEER_PORTS)
    assert child.stdout.readline() == "ready\n"
    lab.apply({"vip": SNAT_VIP, "tenant": "chaos", "snat": {"dips": [dip(vm) for vm in VMS], "prealloc_ports": 8, "idle_s": 10}})
    lab.wait_announced(SNAT_VIP)


def run(lab, args):
    prepare(lab)
    operator, over = Operator(lab), threading.Event()
    clients = [Client(n, operator, args.seed, over) for n in range(N_CLIENTS)]
    leases, nemesis = Leases(operator, over), Nemesis(lab, args.seed)
    for thread in (*clients, leases):
        thread.start()
    deadline = time.monotonic() + args.seconds
    try:
        while time.monotonic() < deadline:
            nemesis.one()
    finally:
        over.set()
        for thread in (*clients, leases):
            thread.join()
    lab.repair()
    eventually(lambda: replicas_that_agree(lab), "the replicas are equal", 60)
    final = {}
    for vip in VIPS:
        code, said, _ = operator.run("mgr1", "-o", "json", "vip", "show", vip)
        final[vip] = value_of(said) if code == 0 else ""
    rows = json.loads(operator.run("mgr1", "-o", "json", "snat", "list", "--vip", SNAT_VIP)[1])
    operations = [operation for client in clients for operation in client.operations]
    problems = [client.failure for client in clients if client.failure]
    for refusal in sorted(set().union(*(client.refusals for client in clients))):
        print(f"refused: {refusal}")
    problems += history.problems_of(operations) + history.lost_writes(operations, final) + leases.problems + history.double_leases(rows)
    return operations, nemesis, leases, problems


def report(args, operations, nemesis, leases, problems):
    outcomes = collections.Counter((operation.kind, operation.outcome) for operation in operations)
    print(f"{len(operations)} operations: " + ", ".join(f"{n} {kind}s {outcome}" for (kind, outcome), n in sorted(outcomes.items())))
    print(f"{sum(nemesis.counts.values())} faults: " + ", ".join(f"{n} {name}" for name, n in sorted(nemesis.counts.items())))
    print(f"{leases.n_looks} looks at leases, at most {leases.most} at a time")
    if not outcomes[("write", history.ACKNOWLEDGED)] or not outcomes[("read", history.ACKNOWLEDGED)] or not leases.n_looks:
        problems.append("nothing was written, read or leased: this says nothing")
    for problem in problems:
        print(f"wrong: {problem}")
    if problems:
        path = f"/tmp/ananta-chaos-{args.seed}.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(operation.text() + "\n" for operation in sorted(operations, key=lambda o: o.begin))
        print(f"the history is in {path}")
    return 1 if problems else 0


def faults_library():
    """Of the build whose programs the lab runs."""
    binaries = os.environ.get("ANANTA_BIN") or os.path.join(REPOSITORY, "build", "release", "bin")
    return os.path.join(os.path.dirname(os.path.realpath(binaries)), "lib", "libananta-faults.so")


def main():
    parser = argparse.ArgumentParser(prog="tests/chaos/run", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--name", default="chaos", help="of the lab")
    parser.add_argument("--keep", action="store_true", help="leave the lab standing")
    args = parser.parse_args()
    args.seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    print(f"seed {args.seed}", flush=True)
    lab = Lab(args.name)
    try:
        lab.up("--preload", faults_library())
        return report(args, *run(lab, args))
    finally:
        lab.reap()
        if not args.keep:
            lab.down()


if __name__ == "__main__":
    sys.exit(main())
