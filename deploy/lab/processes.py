"""Processes of a lab: started in their own session inside a namespace, remembered by pid and start time, and only then signalled.

A pid alone is not enough (pids are used again): a record is `PID START`, START being the boot-relative start time that
/proc/PID/stat shows, and every signal goes through a pidfd that was opened before the record was compared.
"""

import os
import select
import signal
import subprocess

import namespaces

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessError(RuntimeError):
    """A process could not be started, found or ended."""


class Process:
    """One program of one node. Its record and its log lie in the node's directory."""

    def __init__(self, program, directory):
        self.program = program
        self.record = os.path.join(directory, program + ".pid")
        self.log = os.path.join(directory, program + ".log")
        self.directory = directory

    def start(self, namespace, argv, environment):
        """Returns as soon as the program runs; whether it is ready is for others to find out."""
        with open(self.log, "ab") as log:
            child = subprocess.Popen(
                namespaces.inside(namespace, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env=environment, start_new_session=True)
        # Written after the fact: a crash in between is what kill_all_in() is for.
        with open(self.record + ".new", "w", encoding="ascii") as record:
            record.write(f"{child.pid} {_start_ticks(child.pid) or 0}\n")
        os.rename(self.record + ".new", self.record)
        child.returncode = 0  # it outlives us: no wait(), no warning

    def recorded_pid(self):
        try:
            with open(self.record, encoding="ascii") as record:
                pid, start = record.read().split()
        except (FileNotFoundError, ValueError):
            return None, None
        return int(pid), int(start)

    def pid(self):
        """The pid while it lives, else None."""
        pid, start = self.recorded_pid()
        if pid is None:
            return None
        fields = _stat_fields(pid)
        if fields is None or int(fields[19]) != start or fields[0] in "ZX":
            return None
        return pid

    def state(self):
        """running | stopped (SIGSTOP) | dead (it ran once) | absent (it never ran)."""
        pid = self.pid()
        if pid is None:
            return "dead" if os.path.exists(self.record) else "absent"
        fields = _stat_fields(pid)
        return "stopped" if fields and fields[0] in "Tt" else "running"

    def signal(self, number):
        """Sends a signal; returns a pidfd to wait on (closed by the caller)."""
        pid, start = self.recorded_pid()
        if pid is not None:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                fd = None
            if fd is not None:
                fields = _stat_fields(pid)
                if fields and int(fields[19]) == start and fields[0] not in "ZX":
                    signal.pidfd_send_signal(fd, number)
                    return fd
                os.close(fd)
        raise ProcessError(f"{self.program} is not running")

    def log_tail(self, lines=15):
        try:
            with open(self.log, "rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 16384))
                return log.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []


def wait_for_end(fd, timeout_s):
    """Whether the process of a pidfd has ended in time. Closes the descriptor."""
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(int(timeout_s * 1000)))
    finally:
        os.close(fd)


def cpu_seconds(pid):
    """Processor time that a process has used so far; 0 when it is gone."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS if fields else 0.0


def _is_inside(pid, identities):
    try:
        stat = os.stat(f"/proc/{pid}/ns/net")
    except OSError:  # it has just ended
        return False
    return (stat.st_dev, stat.st_ino) in identities


def kill_all_in(names, timeout_s=10):
    """Ends every process inside namespaces, whoever started it, the caller and his ancestors excepted."""
    # Held open, a namespace keeps its identity to itself even when its last process and its name go.
    held = []
    try:
        identities = set()
        for name in names:
            try:
                fd = os.open(f"{namespaces.NETNS_DIR}/{name}", os.O_RDONLY)
            except FileNotFoundError:
                continue
            held.append(fd)
            stat = os.fstat(fd)
            identities.add((stat.st_dev, stat.st_ino))
        spared = _self_and_ancestors()
        while True:
            dying = [dead for pid in _all_pids() - spared if (dead := _kill_inside(pid, identities))]
            if not dying:
                return
            for pid, fd in dying:
                if not wait_for_end(fd, timeout_s):
                    raise ProcessError(f"process {pid} does not end by SIGKILL")
    finally:
        for fd in held:
            os.close(fd)


def _kill_inside(pid, identities):
    """(pid, pidfd) when the process lived in one of the namespaces and got SIGKILL, else None."""
    if not _is_inside(pid, identities):
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Looked at again: only now is it certain that the descriptor means the process that was seen.
    if not _is_inside(pid, identities):
        os.close(fd)
        return None
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    return pid, fd


def _all_pids():
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def _self_and_ancestors():
    pids, pid = set(), os.getpid()
    while pid > 0 and pid not in pids:
        pids.add(pid)
        fields = _stat_fields(pid)
        pid = int(fields[1]) if fields else 0
    return pids


def _stat_fields(pid):
    """The fields of /proc/PID/stat from the state on ([0] state, [1] parent, [11] user time, [12] system time, [19] start), or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return None


def _start_ticks(pid):
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None
