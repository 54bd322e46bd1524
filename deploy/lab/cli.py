"""The command line of the lab: `lab COMMAND ...`."""

import argparse
import json
import os
import resource
import signal
import sys
import time

import control
import lifecycle
import namespaces
import processes
import topology

DESCRIPTION = "A small data centre in network namespaces: managers, muxes, hosts with VMs, routers and clients."
EPILOG = """\
Nodes are called router1.., mgr1.., mux1.., host1.., vm1-1 (host 1, VM 1).., client1.., and fabric (the wires).
Programs come from ANANTA_BIN, or build/release/bin, or build/debug/bin. docs/lab.md says more.
"""


def parser():
    which = "which lab (default: ANANTA_LAB, else 'lab')"
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", metavar="PREFIX", default=argparse.SUPPRESS, help=which)
    root = argparse.ArgumentParser(prog="lab", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    root.add_argument("--name", metavar="PREFIX", default=os.environ.get("ANANTA_LAB") or "lab", help=which)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, text, function, node=False, program=False):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[common])
        command.set_defaults(function=function)
        if node:
            command.add_argument("node", metavar="NODE")
        if program:
            command.add_argument("--program", metavar="NAME", help="another one than the node's main program (a mux also has 'bird')")
        return command

    up = add("up", "make a lab and wait until it works", cmd_up)
    defaults = topology.Sizes()
    for name, of in (("managers", ""), ("muxes", ""), ("hosts", ""), ("vms", " per host"), ("clients", ""), ("routers", "")):
        value = getattr(defaults, name)
        up.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"number of {name}{of} (default {value})")
    up.add_argument("--driver", choices=("af_xdp", "af_packet"), default="af_xdp", help="how DPDK takes hold of interfaces (default af_xdp)")
    up.add_argument("--bare", action="store_true", help="wires, BIRD and nginx only: no manager, mux or agent")
    up.add_argument("--preload", metavar="FILE", default="", help="a library that managers are run with (LD_PRELOAD), to try faults")
    up.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="give up after this time (default 60)")
    up.add_argument("-q", "--quiet", action="store_true", help="no progress")

    add("down", "take a lab away, also what a crash left of one", cmd_down)
    for name, text, function in (("status", "show nodes and their programs", cmd_status), ("list", "show the labs that exist", cmd_list)):
        add(name, text, function).add_argument("-o", dest="output", choices=("text", "json"), default="text")
    execute = add("exec", "run a command inside a node", cmd_exec, node=True)
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    shell = add("shell", "an interactive shell inside a node (default mgr1), with anantactl at hand", cmd_shell)
    shell.add_argument("node", nargs="?", default="mgr1", metavar="NODE")
    logs = add("logs", "print the log of a node", cmd_logs, node=True, program=True)
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    kill = add("kill", "send a signal to the node's program", cmd_kill, node=True, program=True)
    kill.add_argument("signal", nargs="?", default="KILL", metavar="SIGNAL", help="name or number (default KILL)")
    add("start", "start the node's program again", cmd_start, node=True, program=True)
    add("partition", "cut a node off silently: links stay up, nothing gets through", cmd_partition, node=True)
    add("heal", "end a partition", cmd_heal, node=True)
    return root


def cmd_up(lab, args):
    began = time.monotonic()

    def say(text):
        if not args.quiet:
            print(f"  {time.monotonic() - began:5.1f} s  {text}", flush=True)

    sizes = topology.Sizes(**{name: getattr(args, name) for name in topology.Sizes().as_dict()})
    lab.up(sizes, args.driver, args.bare, args.preload, args.timeout, say)
    if not args.quiet:
        print(f"lab '{lab.prefix}' is up after {time.monotonic() - began:.1f} s")


def cmd_down(lab, _):
    print(f"lab '{lab.prefix}' is down" if lab.down() else f"there is no lab '{lab.prefix}'")


def cmd_status(lab, args):
    lab.require()
    nodes = [_node_status(lab, node) for node in lab.topo.nodes.values()]
    if args.output == "json":
        print(json.dumps(nodes, indent=2))
        return
    rows = [("NODE", "NAMESPACE", "ADDRESS", "PROGRAM", "PID", "STATE")]
    for node in nodes:
        cut = " (partitioned)" if node["partitioned"] else ""
        for p in node["programs"] or [{"program": "-", "pid": None, "state": "-"}]:
            rows.append((node["node"], node["namespace"], node["address"] or "-", p["program"], str(p["pid"] or "-"), p["state"] + cut))
    print_table(rows)


def _node_status(lab, node):
    programs = []
    for name in node.programs:
        process = lab.process(node, name)
        pid = process.pid()
        programs.append({"program": name, "pid": pid, "state": process.state(), "cpu_seconds": processes.cpu_seconds(pid) if pid else 0.0})
    return {"node": node.name, "namespace": node.namespace, "address": node.address, "partitioned": lab.is_partitioned(node), "programs": programs}


def cmd_list(_, args):
    labs = []
    for prefix in lifecycle.all_prefixes():
        lab = lifecycle.Lab(prefix)
        labs.append({"name": prefix, "complete": lab.topo is not None, "namespaces": len(namespaces.of_lab(prefix)), **lab.settings.get("sizes", {})})
    if args.output == "json":
        print(json.dumps(labs, indent=2))
    elif labs:
        sizes = topology.Sizes().as_dict()
        print_table([("NAME", "NAMESPACES", *(name.upper() for name in sizes))]
                    + [(row["name"], str(row["namespaces"]), *(str(row.get(name, "?")) for name in sizes)) for row in labs])
    else:
        print("no lab is up")


def cmd_exec(lab, args):
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise lifecycle.LabError("exec: which command? (lab exec NODE -- COMMAND ...)")
    _become(lab, lab.node(args.node), argv)


def cmd_shell(lab, args):
    node = lab.node(args.node)
    rc_file = f"{lab.directory}/shellrc"
    with open(rc_file, "w", encoding="utf-8") as file:
        file.write(f"PS1='{lab.prefix}:$LAB_NODE# '\n")
    os.environ["LAB_NODE"] = node.name
    _become(lab, node, ["bash", "--noprofile", "--rcfile", rc_file, "-i"])


def _become(lab, node, argv):
    command = namespaces.inside(node.namespace, *argv)
    sys.stdout.flush()
    os.execvpe(command[0], command, lab.environment())


def cmd_logs(lab, args):
    process = lab.process(lab.node(args.node), args.program)
    if not os.path.exists(process.log):
        raise lifecycle.LabError(f"{args.node} has no log yet")
    os.execvp("tail", ["tail", "-n", "+1", *(["-f"] if args.follow else []), process.log])


def cmd_kill(lab, args):
    lab.kill(lab.node(args.node), _signal_number(args.signal), args.program)


def _signal_number(text):
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals["SIG" + text.upper().removeprefix("SIG")]
    except (KeyError, ValueError) as error:
        raise lifecycle.LabError(f"there is no signal '{text}'") from error


def cmd_start(lab, args):
    lab.start(lab.node(args.node), args.program)


def cmd_partition(lab, args):
    lab.partition(lab.node(args.node))


def cmd_heal(lab, args):
    lab.heal(lab.node(args.node))


def print_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _interrupted(number, _):
    raise SystemExit(128 + number)


def main(argv):
    args = parser().parse_args(argv)
    # As exceptions, so that an interrupted `up` takes away what it has made.
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    # A thousand connections to an nginx, or from a load generator, need more than the usual 1024 descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    try:
        args.function(lifecycle.Lab(args.name), args)
    except (lifecycle.LabError, topology.TopologyError, namespaces.NamespaceError, processes.ProcessError, control.Refused) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0
