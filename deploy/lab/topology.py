"""What a lab consists of: its nodes, their addresses and cables. Pure: nothing here touches the machine.

Addresses are a function of a node's kind and number (docs/lab.md has the table), so that every lab looks the same
and nothing has to be looked up.
"""

import re
from dataclasses import asdict, dataclass, field

FABRIC_MTU = 1600  # room for the outer IP header between muxes and hosts
INTERNET_MTU = 1500
ROUTER_AS = 65000
MUX_AS = 65001
BGP_PASSWORD = "ananta-lab"
VIP_PREFIX = "203.0.113.0/24"
VIP6_PREFIX = "2001:db8:5::/64"
FABRIC6 = "2001:db8:f"  # a /64, as the next ones; the last part of an address is that of its IPv4 twin
INTERNET6 = "2001:db8:c"
VMS6 = "2001:db8:1"  # and the number of the host
VM_GATEWAY6 = "fe80::1"

KINDS = ("router", "mgr", "mux", "host", "vm", "client")
PREFIX_PATTERN = re.compile(r"[a-z][a-z0-9]{0,7}")
NODE_PATTERN = re.compile(r"fabric|(?:router|mgr|mux|host|client)[0-9]+|vm[0-9]+-[0-9]+")


class TopologyError(ValueError):
    """The sizes or the name that were asked for do not make a lab."""


@dataclass(frozen=True)
class Sizes:
    """How many nodes of each kind; `vms` is per host."""

    managers: int = 3
    muxes: int = 2
    hosts: int = 3
    vms: int = 2
    clients: int = 1
    routers: int = 1

    def check(self):
        for name, least, most in (
            ("managers", 1, 9), ("muxes", 0, 60), ("hosts", 0, 99), ("vms", 0, 100), ("clients", 0, 100), ("routers", 1, 9),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise TopologyError(f"--{name} must be {least} to {most}, not {value}")

    def as_dict(self):
        return asdict(self)


@dataclass
class Interface:
    """One end of a cable, in the namespace of its node. The other end is `peer` in the namespace of `peer_node`."""

    name: str
    mac: str
    mtu: int
    peer_node: str
    peer: str
    bridge: str = ""  # of the fabric namespace, when that is where the cable ends
    cidr: str = ""  # "" when a DPDK program owns the interface
    cidr6: str = ""
    dpdk: bool = False


@dataclass
class Node:
    name: str
    kind: str
    namespace: str
    address: str = ""  # the node's own address, whoever puts it on an interface
    address6: str = ""
    host_number: int = 0  # of a VM: the number of its host
    number: int = 0
    interfaces: list = field(default_factory=list)
    default_via: list = field(default_factory=list)
    default_via6: list = field(default_factory=list)
    routes: list = field(default_factory=list)  # (subnet, next hop), of both families

    @property
    def programs(self):
        """What runs here, the main program first."""
        return {
            "mgr": ["ananta-manager"], "mux": ["ananta-mux", "bird"], "host": ["ananta-agent"], "router": ["bird"], "vm": ["nginx"],
        }.get(self.kind, [])

    @property
    def interface(self):
        return self.interfaces[0]


def check_prefix(prefix):
    if not PREFIX_PATTERN.fullmatch(prefix):
        raise TopologyError(f"'{prefix}' is no name for a lab: a small letter, then up to 7 small letters or digits")


def is_namespace_of(prefix, namespace):
    """Whether a namespace carries the name of a node of the lab, whatever that lab's sizes are."""
    return namespace.startswith(prefix + "-") and NODE_PATTERN.fullmatch(namespace[len(prefix) + 1:]) is not None


def prefix_of(namespace):
    """The lab that a namespace belongs to by its name, or None."""
    prefix, dash, _ = namespace.partition("-")
    if dash and PREFIX_PATTERN.fullmatch(prefix) and is_namespace_of(prefix, namespace):
        return prefix
    return None


def _mac(kind, a, b=0, interface=0):
    """Locally administered, the same in every lab."""
    return f"02:a0:{KINDS.index(kind) + 1:02x}:{a:02x}:{b:02x}:{interface:02x}"


def fabric_side(mac):
    """The MAC address of the fabric's or the host's end of the cable whose other end has `mac`."""
    return "02:a1" + mac[5:]


class Topology:
    """All nodes of one lab, by name, in the order in which they are listed."""

    def __init__(self, prefix, sizes):
        check_prefix(prefix)
        sizes.check()
        self.prefix = prefix
        self.sizes = sizes
        self.nodes = {}
        self._add("fabric", "fabric", 0)
        for n in range(1, sizes.routers + 1):
            self._add_router(n)
        for n in range(1, sizes.managers + 1):
            node = self._add(f"mgr{n}", "mgr", n, f"10.0.0.{10 + n}", f"{FABRIC6}::{10 + n}")
            self._plug(node, "fabric", cidr=f"{node.address}/24", cidr6=f"{node.address6}/64")
        for n in range(1, sizes.muxes + 1):
            node = self._add(f"mux{n}", "mux", n, f"10.0.0.{30 + n}", f"{FABRIC6}::{30 + n}")
            self._plug(node, "fabric", dpdk=True)
        for n in range(1, sizes.hosts + 1):
            node = self._add(f"host{n}", "host", n, f"10.0.0.{100 + n}", f"{FABRIC6}::{100 + n}")
            self._plug(node, "fabric", dpdk=True)
        for h in range(1, sizes.hosts + 1):
            for n in range(1, sizes.vms + 1):
                self._add_vm(h, n)
        for n in range(1, sizes.clients + 1):
            node = self._add(f"client{n}", "client", n, f"198.51.100.{10 + n}", f"{INTERNET6}::{10 + n}")
            self._plug(node, "internet", cidr=f"{node.address}/24", cidr6=f"{node.address6}/64")
            node.default_via = [f"198.51.100.{r}" for r in range(1, sizes.routers + 1)]
            node.default_via6 = [f"{INTERNET6}::{r}" for r in range(1, sizes.routers + 1)]

    def of_kind(self, kind):
        return [node for node in self.nodes.values() if node.kind == kind]

    @property
    def gateways(self):
        """The routers as the fabric sees them, by both families."""
        routers = self.of_kind("router")
        return [node.address for node in routers] + [node.address6 for node in routers]

    @property
    def manager_endpoints(self):
        return [f"{node.address}:7400" for node in self.of_kind("mgr")]

    def _add(self, name, kind, number, address="", address6=""):
        node = Node(name=name, kind=kind, namespace=f"{self.prefix}-{name}", address=address, address6=address6, number=number)
        self.nodes[name] = node
        return node

    def _plug(self, node, bridge, name="eth0", port=None, **more):
        """A cable from the node to a bridge of the fabric namespace."""
        node.interfaces.append(Interface(
            name=name, mac=_mac(node.kind, node.number, interface=len(node.interfaces)), mtu=FABRIC_MTU if bridge == "fabric" else INTERNET_MTU,
            peer_node="fabric", peer=port or node.name, bridge=bridge, **more))

    def _add_router(self, n):
        node = self._add(f"router{n}", "router", n, f"10.0.0.{n}", f"{FABRIC6}::{n}")
        self._plug(node, "fabric", cidr=f"{node.address}/24", cidr6=f"{node.address6}/64")
        self._plug(node, "internet", name="eth1", port=f"router{n}-inet", cidr=f"198.51.100.{n}/24", cidr6=f"{INTERNET6}::{n}/64")
        node.routes = [(f"10.1.{h}.0/24", f"10.0.0.{100 + h}") for h in range(1, self.sizes.hosts + 1)]
        node.routes += [(f"{VMS6}:{h}::/64", f"{FABRIC6}::{100 + h}") for h in range(1, self.sizes.hosts + 1)]

    def _add_vm(self, h, n):
        node = self._add(f"vm{h}-{n}", "vm", n, f"10.1.{h}.{10 + n}", f"{VMS6}:{h}::{10 + n}")
        node.host_number = h
        node.interfaces.append(Interface(
            name="eth0", mac=_mac("vm", h, n), mtu=INTERNET_MTU, peer_node=f"host{h}", peer=f"vm{n}", cidr=f"{node.address}/24",
            cidr6=f"{node.address6}/64"))
        node.default_via = [f"10.1.{h}.1"]
        node.default_via6 = [f"{VM_GATEWAY6} dev eth0"]
