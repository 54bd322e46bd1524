"""A lab as a whole: brought up, looked at, taken down. Its state lies in one directory, and `down` needs not even that."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import configs
import control
import namespaces
import processes
import topology

STATE_ROOT = "/run/ananta-lab"
HERE = os.path.dirname(os.path.realpath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BIG_FILE_MIB = 64
POLL_S = 0.05
LOCK_PATIENCE_S = 30


class LabError(RuntimeError):
    """One sentence for the one who called."""


def find_binaries():
    """The directory with ananta-manager and its kin: ANANTA_BIN, or the repository's release or debug build."""
    chosen = os.environ.get("ANANTA_BIN")
    candidates = [chosen] if chosen else [f"{REPOSITORY}/build/{preset}/bin" for preset in ("release", "debug")]
    needed = ("ananta-manager", "ananta-mux", "ananta-agent", "anantactl")
    for directory in candidates:
        if all(os.access(os.path.join(directory, name), os.X_OK) for name in needed):
            return os.path.realpath(directory)
    raise LabError(f"no {', '.join(needed)} in {' or '.join(candidates)}: build them (cmake --preset release && ninja -C build/release) "
                   "or set ANANTA_BIN")


def all_prefixes():
    """Every lab of which there is a trace on this machine."""
    traces = {prefix for name in namespaces.existing() if (prefix := topology.prefix_of(name))}
    if os.path.isdir(STATE_ROOT):
        traces |= {name for name in os.listdir(STATE_ROOT) if topology.PREFIX_PATTERN.fullmatch(name)}
    return sorted(traces)


class Lab:
    """One lab by its prefix. `topo` is None while nothing is known of it beyond its name."""

    def __init__(self, prefix):
        topology.check_prefix(prefix)
        self.prefix = prefix
        self.directory = os.path.join(STATE_ROOT, prefix)
        self.topo = None
        self.settings = {}
        try:
            with open(f"{self.directory}/lab.json", encoding="utf-8") as file:
                self.settings = json.load(file)
            self.topo = topology.Topology(prefix, topology.Sizes(**self.settings["sizes"]))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            pass

    # --- what is there

    def exists(self):
        return os.path.isdir(self.directory) or bool(namespaces.of_lab(self.prefix))

    def require(self):
        if self.topo is None:
            if self.exists():
                raise LabError(f"the lab '{self.prefix}' is only half there: take it down with 'lab down --name {self.prefix}'")
            raise LabError(f"there is no lab '{self.prefix}': 'lab up --name {self.prefix}' makes it")

    def node(self, name):
        self.require()
        if name not in self.topo.nodes:
            raise LabError(f"the lab '{self.prefix}' has no node '{name}': it has {', '.join(self.topo.nodes)}")
        return self.topo.nodes[name]

    def node_directory(self, node):
        return os.path.join(self.directory, node.name)

    def process(self, node, program=None):
        if not node.programs:
            raise LabError(f"{node.name} runs no program of its own")
        if program is not None and program not in node.programs:
            raise LabError(f"{node.name} runs no '{program}' but {' and '.join(node.programs)}")
        return processes.Process(program or node.programs[0], self.node_directory(node))

    def environment(self):
        """For people and tests inside: anantactl and lab work without further settings."""
        path = [self.settings["binaries"], HERE, os.environ.get("PATH", DEFAULT_PATH)]
        return {**os.environ, "PATH": ":".join(part for part in path if part), "ANANTA_LAB": self.prefix,
                "ANANTA_MANAGERS": ",".join(self.topo.manager_endpoints)}

    def _program_environment(self, node):
        """For the lab's own programs: nothing of the caller's, but for what sanitizers are told.

        DPDK keeps its sockets below RUNTIME_DIRECTORY: in the node's own directory they collide with nothing and go with the lab.
        """
        kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        if node.kind == "mgr" and self.settings.get("preload"):
            kept["LD_PRELOAD"] = self.settings["preload"]
        return {**kept, "PATH": DEFAULT_PATH, "LANG": "C.UTF-8", "RUNTIME_DIRECTORY": self.node_directory(node)}

    def control(self):
        self.require()
        return control.Control(self.topo, self.environment())

    def is_partitioned(self, node):
        return os.path.exists(f"{self.node_directory(node)}/partitioned")

    # --- up

    def up(self, sizes, driver, bare, preload, timeout_s, say):
        topo = topology.Topology(self.prefix, sizes)
        if preload and not os.path.isfile(preload):
            raise LabError(f"--preload {preload}: there is no such file")
        preload = os.path.realpath(preload) if preload else ""
        binaries = find_binaries() if sizes.muxes or not bare else ""  # a mux prints its BIRD's configuration
        if os.geteuid() != 0:
            raise LabError("network namespaces need root")
        if self.exists():
            raise LabError(f"a lab '{self.prefix}' exists already and was left as it is: see 'lab status', or take it down with 'lab down'")
        self._make_directory()
        lock = self._lock()
        try:
            self.settings = {"sizes": sizes.as_dict(), "driver": driver, "binaries": binaries, "bare": bare, "preload": preload}
            self.topo = topo
            self._write(f"{self.directory}/lab.json", json.dumps(self.settings) + "\n")
            self._bring_up(timeout_s, say)
        except BaseException:
            uninterrupted()
            self._take_down()
            raise
        finally:
            os.close(lock)

    def _bring_up(self, timeout_s, say):
        namespaces.create(self.topo)
        say(f"{len(self.topo.nodes)} namespaces")
        for node in self.topo.nodes.values():
            self._configure(node)
            for program in node.programs:
                if self._is_wanted(program):
                    self.start(node, program)
        self._write_big_file()
        say("programs started")
        self._wait_until_ready(time.monotonic() + timeout_s, say)

    def _is_wanted(self, program):
        return not (self.settings["bare"] and program.startswith("ananta-"))

    def _configure(self, node):
        directory = self.node_directory(node)
        os.mkdir(directory)
        files = {
            "mgr": lambda: {"manager.json": configs.manager(self.topo, node, directory)},
            "mux": lambda: {"mux.json": configs.mux(self.topo, node, self.settings["driver"], directory)},
            "host": lambda: {"agent.json": configs.agent(self.topo, node, self.settings["driver"], directory)},
            "router": lambda: {"bird.conf": configs.router_bird(self.topo, node)},
            "vm": lambda: {"nginx.conf": configs.nginx(node, directory, f"{self.directory}/big")},
        }.get(node.kind, dict)()
        for name, text in files.items():
            self._write(f"{directory}/{name}", text)
        if node.kind == "mux":
            self._write_bird_of_mux(node, directory)

    def _write_bird_of_mux(self, node, directory):
        """As the mux itself will write it, so that BIRD can start first."""
        command = [f"{self.settings['binaries']}/ananta-mux", "--config", f"{directory}/mux.json", "--print-bird"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{node.name}: ananta-mux --print-bird: {done.stderr.strip()}")
        self._write(f"{directory}/bird.conf", done.stdout)
        os.chmod(f"{directory}/bird.conf", 0o600)  # it holds a password; else the mux writes it anew

    def _command(self, node, program):
        directory, binaries = self.node_directory(node), self.settings["binaries"]
        return {
            "ananta-manager": [f"{binaries}/ananta-manager", "--config", f"{directory}/manager.json"],
            "ananta-mux": [f"{binaries}/ananta-mux", "--config", f"{directory}/mux.json"],
            "ananta-agent": [f"{binaries}/ananta-agent", "--config", f"{directory}/agent.json"],
            "bird": ["bird", "-f", "-c", f"{directory}/bird.conf", "-s", f"{directory}/bird.ctl", "-P", f"{directory}/bird.own-pid"],
            "nginx": ["nginx", "-p", directory, "-c", f"{directory}/nginx.conf", "-e", "stderr"],
        }[program]

    def start(self, node, program=None):
        process = self.process(node, program)
        if not self._is_wanted(process.program):
            raise LabError(f"the lab '{self.prefix}' is a bare one: it has no {process.program}")
        if (pid := process.pid()) is not None:
            raise LabError(f"{process.program} of {node.name} runs already, as process {pid}")
        process.start(node.namespace, self._command(node, process.program), self._program_environment(node))
        return process.pid()

    def _write_big_file(self):
        """The same bytes in every lab and behind every VM, so that a download has one right checksum."""
        bytes_of = random.Random("ananta").randbytes
        with open(f"{self.directory}/big", "wb") as file:
            for _ in range(BIG_FILE_MIB):
                file.write(bytes_of(1 << 20))

    # --- readiness

    def _wait_until_ready(self, deadline, say):
        topo = self.topo
        if not self.settings["bare"]:
            operator = self.control()
            self._wait(deadline, "the managers elect a leader", lambda: "" if operator.leader() else "none yet")
            say("leader elected")
            self._wait(deadline, "muxes and hosts subscribe", lambda: self._not_subscribed(operator))
            say(f"{len(topo.of_kind('mux'))} muxes, {len(topo.of_kind('host'))} hosts subscribed")
            vms = topo.of_kind("vm")
            with ThreadPoolExecutor(max_workers=8) as pool:
                for waiting in [pool.submit(self._wait, deadline, f"{vm.name} is attached", lambda vm=vm: operator.attach(vm) or "") for vm in vms]:
                    waiting.result()
            self._wait(deadline, "all VMs are attached", lambda: self._not_attached(operator))
            say(f"{len(vms)} VMs attached")
            self._wait(deadline, "BGP sessions are established", lambda: self._without_bgp(operator))
            say("BGP established")
        self._wait(deadline, "BIRD and nginx run", lambda: "")

    def _not_subscribed(self, operator):
        states = {row["name"]: row["state"] for kind in ("mux", "host") for row in operator.ask(kind, "list")}
        return _listed({node.name: states.get(node.name, "unknown") for kind in ("mux", "host") for node in self.topo.of_kind(kind)},
                       lambda state: state in ("announcing", "no-config", "ready"))

    def _not_attached(self, operator):
        states = {row["dip"]: row["state"] for row in operator.ask("dip", "list")}
        return _listed({f"{vm.name} {dip}": states.get(dip, "unknown") for vm in self.topo.of_kind("vm") for dip in (vm.address, vm.address6)},
                       lambda state: state == "attached")

    def _without_bgp(self, operator):
        states = {}
        for router in self.topo.of_kind("router"):
            for mux, state in operator.bgp_states(router, f"{self.node_directory(router)}/bird.ctl").items():
                states[f"{router.name}-{mux}"] = state
        return _listed(states, lambda state: state == "Established")

    def _wait(self, deadline, what, problem):
        """Polls until there is no problem. A program that dies meanwhile, or the deadline, is a LabError with the log's end."""
        while True:
            try:
                last_words = problem()
                if not last_words:
                    return
            except control.Refused as refused:
                last_words = str(refused)
            self._require_all_alive(what)
            if time.monotonic() > deadline:
                raise LabError(f"gave up waiting until {what}: {last_words}" + self._suspicious_logs())
            time.sleep(POLL_S)

    def _require_all_alive(self, what):
        for node in self.topo.nodes.values():
            for program in node.programs:
                process = self.process(node, program)
                if process.state() == "dead":
                    raise LabError(f"{program} of {node.name} ended while waiting until {what}" + _tail(node, process))

    def _suspicious_logs(self):
        """The log's end of the first node of each kind: a lab that hangs rarely does so in one node only."""
        first = {node.kind: node for node in reversed(self.topo.nodes.values()) if node.kind in ("mgr", "mux", "host", "router")}
        return "".join(_tail(node, self.process(node)) for node in first.values())

    # --- while it runs

    def kill(self, node, number, program=None):
        """Sends a signal; after KILL or TERM also waits for the end, so that what follows sees the node without it."""
        fd = self.process(node, program).signal(number)
        if number not in (signal.SIGKILL, signal.SIGTERM):
            os.close(fd)
        elif not processes.wait_for_end(fd, 10):
            raise LabError(f"{program or node.programs[0]} of {node.name} did not end within 10 s of {signal.Signals(number).name}")

    def partition(self, node):
        self._require_cable(node)
        if self.is_partitioned(node):
            raise LabError(f"{node.name} is partitioned already")
        namespaces.partition(self.topo, node)
        self._write(f"{self.node_directory(node)}/partitioned", "")

    def heal(self, node):
        self._require_cable(node)
        if not self.is_partitioned(node):
            raise LabError(f"{node.name} is not partitioned")
        namespaces.heal(self.topo, node)
        os.unlink(f"{self.node_directory(node)}/partitioned")

    def _require_cable(self, node):
        if not node.interfaces:
            raise LabError(f"{node.name} is the wire itself: partition one of its nodes")

    # --- down

    def down(self):
        """Whether there was anything. Works on what a crash left, too: nothing but the prefix need be known."""
        if not self.exists():
            return False
        try:
            lock = self._lock()
        except FileNotFoundError:  # namespaces without a state directory
            lock = None
        try:
            self._take_down()
        finally:
            if lock is not None:
                os.close(lock)
        return True

    def _take_down(self):
        names = namespaces.of_lab(self.prefix)
        processes.kill_all_in(names)
        namespaces.delete(names)
        shutil.rmtree(self.directory, ignore_errors=True)
        if os.path.isdir(self.directory):
            raise LabError(f"cannot remove {self.directory}")
        try:
            os.rmdir(STATE_ROOT)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise

    # --- files

    def _make_directory(self):
        while True:
            os.makedirs(STATE_ROOT, exist_ok=True)
            try:
                os.mkdir(self.directory)
                return
            except FileExistsError as error:
                raise LabError(f"a lab '{self.prefix}' is being made by someone else at this moment") from error
            except FileNotFoundError:  # another lab's `down` has just removed the empty root
                continue

    def _lock(self):
        """Held from `up` to its end and by `down`: they do not meet."""
        fd = os.open(self.directory, os.O_RDONLY)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise LabError(f"another 'lab up' or 'lab down' of '{self.prefix}' is still at work") from error
            time.sleep(POLL_S)

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def _listed(states, is_good):
    """Those that are not as they should be, as text: "mux1 unreachable, mux2 unknown"."""
    return ", ".join(f"{name} {state}" for name, state in states.items() if not is_good(state))


def uninterrupted():
    """From now on no signal stops what is done: for cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _tail(node, process):
    lines = process.log_tail()
    return f"\n--- log of {node.name} ({process.program})\n" + ("\n".join(lines) if lines else "(empty)")
