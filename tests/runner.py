"""The tests of Ananta, by suite: called by tests/run, which installs what is needed first."""

import argparse
import concurrent.futures
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
REPOSITORY = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LAB_TESTS = os.path.join(REPOSITORY, "tests", "lab")
UNIT_PRESETS = ("debug", "asan")
SIM_SEEDS = os.path.join(REPOSITORY, "tests", "sim", "seeds.txt")
FUZZ_RUNS = 50000
FUZZ_SECONDS = 20
PROGRAM_TIMEOUT_S = 900
CHAOS_SECONDS = 45
# Unit programs with several processes, sockets or real time in them, which run alone; all others run side by side.
ALONE = re.compile(r"cluster|replica|netlink|data-plane|dpdk|port|routes|link|watchdog|probe|control|program|rcu|poller")


class Report:
    """Counts, and prints one line for each test; of a failure also what it said."""

    def __init__(self, pattern):
        self.pattern = re.compile(pattern)
        self.passed = self.failed = self.skipped = 0

    def wants(self, name):
        return self.pattern.search(name) is not None

    def add(self, outcome, name, seconds=None, text=""):
        if not self.wants(name) and outcome != "FAIL":
            return
        self.passed += outcome == "ok"
        self.failed += outcome == "FAIL"
        self.skipped += outcome == "skip"
        took = f" ({seconds:.1f} s)" if seconds is not None and seconds >= 0.1 else ""
        print(f"{outcome:4s}  {name}{took}", flush=True)
        if text.strip():
            print("      " + text.strip().replace("\n", "\n      "), flush=True)


def run(argv, **more):
    """(exit code, everything that it said, seconds)."""
    began = time.monotonic()
    try:
        done = subprocess.run(argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", check=False, timeout=PROGRAM_TIMEOUT_S, **more)
        return done.returncode, done.stdout, time.monotonic() - began
    except subprocess.TimeoutExpired as error:
        return 124, f"{error.stdout or ''}\nstill running after {PROGRAM_TIMEOUT_S} s", time.monotonic() - began


class Builder:
    """Builds each preset at most once."""

    def __init__(self, report):
        self.report = report
        self.done = {}

    def build(self, preset):
        """The directory with the programs, or None (and a failure in the report)."""
        if preset not in self.done:
            self.done[preset] = self._build(preset)
        return self.done[preset]

    def _build(self, preset):
        print(f"building {preset}", flush=True)
        for argv in (["cmake", "--preset", preset], ["ninja", "-C", f"build/{preset}"]):
            code, said, seconds = run(argv)
            if code != 0:
                self.report.add("FAIL", f"build {preset}", seconds, "\n".join(said.splitlines()[-60:]))
                return None
        return os.path.join(REPOSITORY, "build", preset, "bin")


def programs(directory, prefix):
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))
            if name.startswith(prefix) and os.access(os.path.join(directory, name), os.X_OK)]


def script_suite(report, suite, path):
    """A check that is one script: it passes or fails as a whole."""
    full = os.path.join(REPOSITORY, path)
    if not os.path.exists(full):
        report.add("skip", f"{suite}: {path} is not there")
        return
    code, said, seconds = run([full])
    report.add("ok" if code == 0 else "FAIL", f"{suite}: {path}", seconds, "" if code == 0 else said)


def run_unit(report, builder, _):
    for preset in UNIT_PRESETS:
        directory = builder.build(preset)
        if directory is None:
            continue
        found = programs(directory, "test-")
        if not found:
            report.add("skip", f"unit {preset}: no test programs")
        together = [program for program in found if not ALONE.search(os.path.basename(program))]
        for program, outcome in side_by_side(run_libcheck, together):
            report_libcheck(report, preset, program, *outcome)
        for program in found:
            if program not in together:
                report_libcheck(report, preset, program, *run_libcheck(program))


def side_by_side(function, items):
    """Each item with what the function returns for it, in order; as many run at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield from zip(items, pool.map(function, items))


def run_libcheck(program):
    """(exit code, what it said, seconds, lines of its TAP file)."""
    with tempfile.TemporaryDirectory() as directory:
        tap_file = os.path.join(directory, "tap")
        code, said, seconds = run([program], env={**os.environ, "CK_TAP_LOG_FILE_NAME": tap_file, "CK_DEFAULT_TIMEOUT": "120"})
        try:
            with open(tap_file, encoding="utf-8", errors="replace") as tap:
                lines = tap.read().splitlines()
        except FileNotFoundError:
            lines = []
    return code, said, seconds, lines


def report_libcheck(report, preset, program, code, said, seconds, lines):
    suite = f"unit {preset} {os.path.basename(program)}"
    failures = 0
    for line in lines:
        # ok 3 - ./tests/unit/base/test_hash.c:hash:hash_is_stable: Passed
        match = re.match(r"(ok|not ok) \d+ - (?:[^:]*):(?:[^:]*):([^:]*): ?(.*)", line)
        if match:
            outcome, name, message = match.groups()
            failures += outcome != "ok"
            report.add("ok" if outcome == "ok" else "FAIL", f"{suite}: {name}", text="" if outcome == "ok" else message)
    if code != 0 or not lines:
        if failures == 0:  # a crash, a leak, or no test at all: the program as a whole has failed
            report.add("FAIL", f"{suite}: exit code {code}", seconds, said)
        else:
            print("      " + said.strip().replace("\n", "\n      "), flush=True)


def run_fuzz(report, builder, _):
    directory = builder.build("fuzz")
    if directory is None:
        return
    found = programs(directory, "fuzz-")
    if not found:
        report.add("skip", "fuzz: no fuzz programs")
    for program, (code, said, seconds) in side_by_side(run_fuzz_target, found):
        name = os.path.basename(program)
        report.add("ok" if code == 0 else "FAIL", f"fuzz: {name}", seconds, "" if code == 0 else "\n".join(said.splitlines()[-60:]))


def run_fuzz_target(program):
    corpus = os.path.join(REPOSITORY, "tests", "fuzz", "corpus", os.path.basename(program).removeprefix("fuzz-"))
    with tempfile.TemporaryDirectory() as fresh:
        argv = [program, "-seed=1", f"-runs={FUZZ_RUNS}", f"-max_total_time={FUZZ_SECONDS}", f"-artifact_prefix={fresh}/", "-print_final_stats=0", fresh]
        return run(argv + ([corpus] if os.path.isdir(corpus) else []))


def run_bench(report, builder, _):
    gate = "tests/bench/check-instructions"
    if not os.path.exists(os.path.join(REPOSITORY, gate)) or builder.build("release") is not None:
        script_suite(report, "bench", gate)


def sim_lines():
    """(line number, what is expected, options) of each line of tests/sim/seeds.txt."""
    with open(SIM_SEEDS, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.partition("#")[0].split()
            if words:
                yield number, words[0], words[1:]


def sim_problem(expected, code, said):
    """What is wrong with the outcome of one run; "" when nothing is."""
    if code not in (0, 1):
        return f"exit code {code}\n{said}"
    run_of = json.loads(said.splitlines()[-1])
    name, _, bound = expected.partition("<")
    if name == "whole" and code == 1:
        return said
    if name == "breaks" and code == 0:
        return "nothing broke, and nobody would have noticed\n" + said
    if name not in ("whole", "breaks"):
        count = name.rstrip(">!")
        value = run_of[count] if count in run_of else run_of["causes"][count]
        if name.endswith("!"):
            return "" if value > 0 else f"{count} is 0: nobody would have noticed\n{said}"
        is_right = code == 0 and (value < float(bound) if bound else value > 0)
        return "" if is_right else f"{name} is {value}\n{said}"
    return ""


def run_sim(report, builder, _):
    directory = builder.build("release")
    if directory is None:
        return
    program = os.path.join(directory, "ananta-sim")
    for number, expected, options in sim_lines():
        name = f"sim: {expected} {' '.join(options)}"
        if not report.wants(name):
            continue
        code, said, seconds = run([program, "--json", *options])
        problem = sim_problem(expected, code, said)
        report.add("FAIL" if problem else "ok", name, seconds, f"line {number}: {problem}" if problem else "")
    run_sim_twice(report, program)


def run_sim_twice(report, program):
    options = ["--connections", "1500", "--snat", "30", "--seed", "9", "--churn", "storm", "--loss", "0.01", "--duplicate", "0.01", "--follow", "17"]
    first, again, other = (run([program, *more, *options]) for more in ([], [], ["--skew", "2"]))
    is_same = first[:2] == again[:2] and first[0] in (0, 1) and "connection 17" in first[1]
    report.add("ok" if is_same else "FAIL", "sim: the same seed gives the same bytes", first[2] + again[2])
    report.add("ok" if other[1] != first[1] else "FAIL", "sim: other options give other bytes", other[2])


class LabResult(unittest.TestResult):
    """One line per test, named as the sentence that its method's name is."""

    def __init__(self, report, labs):
        super().__init__()
        self.report = report
        self.labs = labs
        self.began = 0.0

    @staticmethod
    def name_of(test):
        return f"lab {type(test).__module__}: " + test.id().rpartition(".")[2].removeprefix("test_").replace("_", " ")

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.texts = []

    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self.began
        if self.texts:
            self.report.add("FAIL", self.name_of(test), took, "\n".join(self.texts) + self._logs())
        elif test.id() not in (skipped.id() for skipped, _ in self.skipped):
            self.report.add("ok", self.name_of(test), took)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.texts.append(self._text(test, err))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.texts.append(f"{subtest._subDescription()}: " + self._text(test, err))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.report.add("skip", f"{self.name_of(test)}: {reason}")

    def _text(self, test, err):
        text = self._exc_info_to_string(err, test).strip()
        if isinstance(err[1], subprocess.CalledProcessError):
            text += f"\nstderr: {(err[1].stderr or '').strip()}"
        return text

    def _logs(self):
        lab = self.labs.shared
        if lab is None:
            return ""
        lines = []
        with contextlib.suppress(subprocess.SubprocessError):
            for node in (node for node in lab.status() if node.startswith(("mgr", "mux", "host"))):
                lines += [f"{node}: {line}" for line in lab.log_tail(node, 4)]
        return "\nlast words of the shared lab:\n" + "\n".join(lines)


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def run_lab(report, builder, args):
    if os.geteuid() != 0:
        report.add("skip", "lab: network namespaces need root")
        return
    directory = builder.build(args.preset)
    if directory is None:
        return
    missing = [name for name in ("ananta-manager", "ananta-mux", "ananta-agent", "anantactl") if not os.path.exists(os.path.join(directory, name))]
    if missing:
        report.add("FAIL", f"lab: {', '.join(missing)} not built in {directory}")
        return
    os.environ["ANANTA_BIN"] = directory
    sys.path.insert(0, LAB_TESTS)
    import harness  # found only now: it lies with its tests

    lock = os.open(LAB_TESTS, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report.add("FAIL", "lab: another tests/run of this clone is at work")
        return
    harness.Labs.keep = args.keep
    harness.Labs.remove_leftovers()
    result = LabResult(report, harness.Labs)
    try:
        for test in flatten(unittest.TestLoader().discover(LAB_TESTS)):
            if report.wants(result.name_of(test)):
                test(result)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a second Ctrl-C does not keep labs standing
            signal.signal(number, signal.SIG_IGN)
        harness.Labs.close()
        os.close(lock)


def run_chaos(report, builder, _):
    """The judge, and a short run of what it judges; tests/chaos/run has long ones."""
    script_suite(report, "chaos", "tests/chaos/test-history")
    directory = builder.build("release")
    if directory is None or not report.wants("chaos: managers"):
        return
    argv = [os.path.join(REPOSITORY, "tests", "chaos", "run"), "--seconds", str(CHAOS_SECONDS), "--seed", "1", "--name", "chaosci"]
    code, said, seconds = run(argv, env={**os.environ, "ANANTA_BIN": directory})
    report.add("ok" if code == 0 else "FAIL", "chaos: managers under faults keep what they acknowledged", seconds, said)


SUITES = {
    "format": lambda report, _, __: script_suite(report, "format", ".ci/check-format"),
    "layers": lambda report, _, __: script_suite(report, "layers", ".ci/check-layers"),
    "unit": run_unit,
    "fuzz": run_fuzz,
    "bench": run_bench,
    "sim": run_sim,
    "lab": run_lab,
    "chaos": run_chaos,
}


def parse(argv):
    parser = argparse.ArgumentParser(prog="tests/run")
    parser.add_argument("words", nargs="*", metavar="SUITE|FILTER")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--preset", default="release", choices=("debug", "release", "asan", "tsan"))
    args = parser.parse_intermixed_args(argv)
    args.suites = [word for word in args.words if word in SUITES or word == "all"]
    filters = [word for word in args.words if word not in args.suites]
    if len(filters) > 1:
        parser.error(f"one FILTER at most, not {' and '.join(filters)}; suites are {', '.join(SUITES)}, all")
    args.filter = filters[0] if filters else ""
    if not args.suites or "all" in args.suites:
        args.suites = list(SUITES)
    return args


def interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    args = parse(sys.argv[1:])
    # As exceptions, so that labs go down with us.
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    report = Report(args.filter)
    builder = Builder(report)
    code = 0
    try:
        for suite in args.suites:
            SUITES[suite](report, builder, args)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        code = 130
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return code or (1 if report.failed else 0)


if __name__ == "__main__":
    sys.exit(main())
