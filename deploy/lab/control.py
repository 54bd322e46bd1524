"""What the lab asks the running data centre: anantactl for managers, muxes, hosts and DIPs; birdc for BGP."""

import json
import subprocess

import namespaces


class Refused(RuntimeError):
    """anantactl or birdc said no; the text is what it said."""


class Control:
    """Asks from inside a manager's namespace, as an operator on that machine would."""

    def __init__(self, topo, environment):
        self.topo = topo
        self.environment = environment

    def anantactl(self, *arguments, timeout_s=10):
        """Standard output of one command."""
        argv = namespaces.inside(self.topo.nodes["mgr1"].namespace, "anantactl", *arguments)
        return _output(argv, self.environment, timeout_s)

    def ask(self, *arguments):
        """What `anantactl -o json` prints, parsed."""
        try:
            return json.loads(self.anantactl("-o", "json", *arguments))
        except json.JSONDecodeError as error:
            raise Refused(f"anantactl {' '.join(arguments)}: output is no JSON ({error})") from error

    def replicas(self):
        """The managers, as rows with id and role. Refused while none leads."""
        return self.ask("cluster", "status")["replicas"]

    def leader(self):
        """The name of the leading manager."""
        return next(f"mgr{row['id']}" for row in self.replicas() if row["role"] == "leader")

    def attach(self, vm):
        """By both of its addresses."""
        for dip in (vm.address, vm.address6):
            self.anantactl("host", "attach", f"host{vm.host_number}", "--name", vm.name, "--dip", dip,
                           "--interface", vm.interface.peer, "--mac", vm.interface.mac)

    def bgp_states(self, node, socket):
        """{neighbour: state} of the BIRD of a node; "Established" is the one that one hopes for."""
        lines = _output(namespaces.inside(node.namespace, "birdc", "-r", "-s", socket, "show", "protocols"), self.environment, 5).splitlines()
        columns = [line.split() for line in lines]
        return {words[0]: words[-1] for words in columns if len(words) > 3 and words[1] == "BGP"}


def _output(argv, environment, timeout_s):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{argv[4]}: no answer in {timeout_s} s") from error
    if done.returncode != 0:
        raise Refused(done.stderr.strip() or done.stdout.strip() or f"{argv[4]}: exit code {done.returncode}")
    return done.stdout
