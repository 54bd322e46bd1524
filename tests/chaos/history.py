"""What clients saw, and whether a single configuration that changes step by step can explain it. Pure: no clock, no processes.

Each VIP is a register. A write has a value that no other write has; it was acknowledged (with the version that the managers say), refused
(nothing happened), or nobody knows. Reads say a value, or that there is none yet.

A history of a register with unique values is linearisable exactly when (Gibbons and Korach, "Testing shared memories", SIAM J. Comput. 1997):
take each write together with its reads. From the first end to the last begin of these the register must have held the value (when that
is a time forwards); no two such zones may overlap, and no cluster that fits into a moment may have to lie inside another's zone.
Acknowledged writes have versions, too: these must rise with time.
"""

import collections
import dataclasses
import math

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"


@dataclasses.dataclass
class Operation:
    """begin and end are of one clock; end is infinite for a write of which nobody knows."""

    kind: str  # "write" or "read"
    key: str
    value: str  # "" of a read that found nothing
    begin: float
    end: float
    outcome: str = ACKNOWLEDGED
    version: int = 0

    def text(self):
        end = "" if math.isinf(self.end) else f"{self.end:.3f}"
        return f"{self.kind} {self.key} = {self.value or 'nothing'} [{self.begin:.3f}, {end}] {self.outcome}" + (
            f" version {self.version}" if self.version else "")


def problems_of(operations):
    """What is wrong with a history, as sentences; none: it is linearisable."""
    by_key = collections.defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    return [problem for key, of_key in sorted(by_key.items()) for problem in _problems_of_register(of_key)] + _problems_of_versions(operations)


def _problems_of_register(operations):
    writes = {operation.value: operation for operation in operations if operation.kind == "write" and operation.outcome != REFUSED}
    refused = {operation.value: operation for operation in operations if operation.kind == "write" and operation.outcome == REFUSED}
    start = Operation("write", operations[0].key, "", -math.inf, -math.inf)  # "nothing" was there before all
    clusters = {"": [start], **{value: [write] for value, write in writes.items()}}
    problems = []
    for read in (operation for operation in operations if operation.kind == "read"):
        if read.value in refused:
            problems.append(f"{read.text()}: but that write was refused")
        elif read.value not in clusters:
            problems.append(f"{read.text()}: nobody wrote that")
        elif read.end < clusters[read.value][0].begin:
            problems.append(f"{read.text()}: before it was written")
        else:
            clusters[read.value].append(read)
    zones = []
    for value, cluster in clusters.items():
        if len(cluster) == 1 and cluster[0].outcome == UNKNOWN:
            continue  # it may never have happened
        zones.append((min(operation.end for operation in cluster), max(operation.begin for operation in cluster), value))
    return problems + _problems_of_zones(operations[0].key, zones)


def _problems_of_zones(key, zones):
    forward = sorted(zone for zone in zones if zone[0] < zone[1])
    problems = []
    for (_, last_begin, value), (first_end, _, other) in zip(forward, forward[1:]):
        if first_end < last_begin:
            problems.append(f"{key}: {value or 'nothing'} and {other or 'nothing'} were both there at {first_end:.3f}")
    for first_end, last_begin, value in zones:
        if first_end < last_begin:
            continue
        for zone_begin, zone_end, other in forward:
            if zone_begin < last_begin and first_end < zone_end:
                problems.append(f"{key}: {value or 'nothing'} was there and gone again at {last_begin:.3f}, where {other or 'nothing'} stood")
    return problems


def _problems_of_versions(operations):
    """An acknowledged write that ended before another began has the smaller version."""
    writes = sorted((operation for operation in operations if operation.kind == "write" and operation.version), key=lambda o: o.version)
    problems = [f"{a.text()} and {b.text()} have the same version" for a, b in zip(writes, writes[1:]) if a.version == b.version and a.key != b.key]
    earliest_end = math.inf
    for write in reversed(writes):
        if earliest_end < write.begin:
            problems.append(f"{write.text()}: a write of a later version had ended before")
        earliest_end = min(earliest_end, write.end)
    return problems


def lost_writes(operations, final):
    """Acknowledged writes that the final state contradicts: `final` is {key: value}. The last acknowledged one of a key stands, unless one of which
    nobody knows, or one with a later version, came over it."""
    problems = []
    for key, value in final.items():
        writes = [operation for operation in operations if operation.kind == "write" and operation.key == key and operation.outcome != REFUSED]
        acknowledged = [write for write in writes if write.outcome == ACKNOWLEDGED]
        if not acknowledged:
            continue
        last = max(acknowledged, key=lambda write: write.version)
        may_be = {last.value} | {write.value for write in writes if write.outcome == UNKNOWN}
        if value not in may_be:
            problems.append(f"{key}: the last acknowledged write is {last.value} (version {last.version}), but {value or 'nothing'} is there")
    return problems


def double_leases(rows):
    """Leases of one moment that overlap: rows are {"vip", "dip", "first_port", "last_port"}."""
    problems = []
    ordered = sorted(rows, key=lambda row: (row["vip"], row["first_port"]))
    for a, b in zip(ordered, ordered[1:]):
        if a["vip"] == b["vip"] and b["first_port"] <= a["last_port"]:
            problems.append(f"{a['vip']}: ports from {b['first_port']} on are both {a['dip']}'s and {b['dip']}'s")
    return problems
