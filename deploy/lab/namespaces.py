"""Network namespaces and their cables, made of a topology by ip(8), and taken away again.

Nothing is created in the namespace that the caller lives in: every veth pair is born between two namespaces of the lab,
and every sysctl is written inside one of them.
"""

import os
import subprocess

import topology

NETNS_DIR = "/run/netns"

COMMON_SYSCTLS = {
    "net/ipv6/conf/all/accept_dad": 0,  # else an address may be used two seconds after it was given
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/all/accept_ra": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/default/router_solicitations": 0,
    "net/ipv6/conf/all/accept_redirects": 0,
    "net/ipv6/conf/default/accept_redirects": 0,
    "net/ipv4/conf/all/accept_redirects": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/forwarding": 0,
    "net/ipv4/conf/default/forwarding": 0,
    "net/ipv4/fib_multipath_hash_policy": 1,
    "net/ipv6/fib_multipath_hash_policy": 1,
}
SYSCTLS = {
    "fabric": {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1},
    "router": {"net/ipv4/conf/all/forwarding": 1, "net/ipv4/conf/default/forwarding": 1,
               "net/ipv6/conf/all/forwarding": 1, "net/ipv6/conf/default/forwarding": 1},
    "client": {"net/ipv4/fib_multipath_use_neigh": 1},
    "mux": {"net/ipv4/conf/all/rp_filter": 1, "net/ipv4/conf/all/arp_ignore": 1},
    "host": {"net/ipv4/conf/all/rp_filter": 1, "net/ipv4/conf/all/arp_ignore": 1},
}


class NamespaceError(RuntimeError):
    """ip(8) or one of its kin refused."""


def existing():
    """The names of all network namespaces of this machine."""
    try:
        return sorted(os.listdir(NETNS_DIR))
    except FileNotFoundError:
        return []


def of_lab(prefix):
    return [name for name in existing() if topology.is_namespace_of(prefix, name)]


def _run(argv, text):
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NamespaceError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")


def inside(namespace, *argv):
    """The command line that runs argv in a namespace, as the same process."""
    return ["ip", "netns", "exec", namespace, *argv]


def create(topo):
    """All namespaces, all cables, all addresses; in two rounds, the second one parallel."""
    _run(["ip", "-batch", "-"], "".join(f"netns add {node.namespace}\n" for node in topo.nodes.values()))
    for owner in ("fabric", *(node.name for node in topo.of_kind("host"))):
        lines = _cable_lines(topo, owner)
        if lines:
            _run(["ip", "-n", topo.nodes[owner].namespace, "-batch", "-"], "\n".join(lines) + "\n")
    running = []
    for node in topo.nodes.values():
        child = subprocess.Popen(inside(node.namespace, "sh", "-e"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        child.stdin.write(_setup_script(topo, node))
        child.stdin.close()
        running.append((node, child))
    failures = []
    for node, child in running:
        said = child.stdout.read()
        if child.wait() != 0:
            failures.append(f"{node.name}: {said.strip()}")
    if failures:
        raise NamespaceError("; ".join(failures))


def _cable_lines(topo, owner):
    """For `ip -batch`: the cables whose far end lies in the namespace of `owner`."""
    lines = []
    if owner == "fabric":
        for bridge, mtu in (("fabric", topology.FABRIC_MTU), ("internet", topology.INTERNET_MTU)):
            lines.append(f"link add name {bridge} mtu {mtu} address 02:a2:00:00:00:{len(lines):02x} type bridge mcast_snooping 0 forward_delay 0")
    for node in topo.nodes.values():
        for i in node.interfaces:
            if i.peer_node == owner:
                lines.append(f"link add name {i.peer} mtu {i.mtu} address {topology.fabric_side(i.mac)} type veth "
                             f"peer name {i.name} mtu {i.mtu} address {i.mac} netns {node.namespace}")
    return lines


def _setup_script(topo, node):
    """A shell script that makes a namespace with its cables into the node."""
    sysctls = {**COMMON_SYSCTLS, **SYSCTLS.get(node.kind, {})}
    far_ends = [(other, i) for other in topo.nodes.values() for i in other.interfaces if i.peer_node == node.name]
    owned = [i.name for i in node.interfaces if i.dpdk] + ([i.peer for _, i in far_ends] if node.kind == "host" else [])
    # Interfaces are there before the defaults are set.
    for name in [i.name for i in node.interfaces]:
        sysctls.update({f"net/ipv6/conf/{name}/{key}": 0 for key in ("accept_dad", "accept_ra", "accept_redirects", "router_solicitations")})
    sysctls.update({f"net/ipv6/conf/{name}/disable_ipv6": 1 for name in owned})  # a DPDK program speaks there
    script = [f"[ ! -e /proc/sys/{key} ] || echo {value} > /proc/sys/{key}" for key, value in sysctls.items()]
    batch = ["link set lo up"]
    no_offload = []
    if node.kind == "fabric":
        batch += ["link set fabric up", "link set internet up"]
        for _, i in far_ends:
            batch.append(f"link set {i.peer} master {i.bridge} up")
            if i.dpdk:
                no_offload.append(i.peer)
    if node.kind == "host":
        for _, i in far_ends:
            batch.append(f"link set {i.peer} arp off up")
    for i in node.interfaces:
        batch.append(f"link set {i.name} {'arp off ' if i.dpdk else ''}up")
        if i.cidr:
            batch.append(f"address add {i.cidr} dev {i.name}")
            batch.append(f"address add {i.cidr6} dev {i.name}")
        if node.kind == "vm":
            no_offload.append(i.name)
    batch += [f"route add {subnet} via {via}" for subnet, via in node.routes]
    for default, vias in (("default", node.default_via), ("::/0", node.default_via6)):
        if vias:
            batch.append(f"route add {default} " + " ".join(f"nexthop via {via}" for via in vias))
    script += ["ip -batch - <<'END'", *batch, "END"]
    # A partial checksum or a superframe is the kernel's word for "the card will do it"; a DPDK program is no such card.
    script += [f"ethtool -K {name} tx off > /dev/null" for name in no_offload]
    # The kernel must not answer beside a DPDK program: no ARP (above), no IPv6, and no copy of the packets. net_af_packet gets its packets
    # before the ingress hook, net_af_xdp before that, so that dropping there takes them from the kernel alone.
    if owned:
        devices = ", ".join(owned)
        script += ["nft -f - <<'END'", "table netdev dpdk_ports {", "chain ingress {",
                   f"type filter hook ingress devices = {{ {devices} }} priority 0; policy drop;", "}", "}", "END"]
    return "\n".join(script) + "\n"


def delete(names):
    """Takes namespaces away, with all interfaces in them; what is gone already is fine."""
    present = set(existing()) & set(names)
    if present:
        _run(["ip", "-force", "-batch", "-"], "".join(f"netns delete {name}\n" for name in sorted(present)))


def partition(topo, node):
    """Silently drops everything from and to the node, at the far end of its cables: its links stay up and no sender sees an error."""
    if node.kind == "vm":
        # No bridge lies between a VM and its host. What the VM sends goes into its own loopback, which ignores a frame for another MAC
        # address: dropping at the egress hook would tell the sender.
        rules = ("table netdev partition {\n"
                 'chain in { type filter hook ingress device "eth0" priority 0; policy drop; }\n'
                 'chain out {\ntype filter hook egress device "eth0" priority 0\nfwd to "lo"\n}\n}\n')
        where = node
    else:
        ports = ", ".join(f'"{i.peer}"' for i in node.interfaces)
        rules = (f"table bridge partition_{node.name} {{\nchain forward {{\ntype filter hook forward priority 0\n"
                 f"iifname {{ {ports} }} drop\noifname {{ {ports} }} drop\n}}\n}}\n")
        where = topo.nodes["fabric"]
    _run(inside(where.namespace, "nft", "-f", "-"), rules)


def heal(topo, node):
    where, table = (node, "netdev partition") if node.kind == "vm" else (topo.nodes["fabric"], f"bridge partition_{node.name}")
    _run(inside(where.namespace, "nft", "-f", "-"), f"delete table {table}\n")
