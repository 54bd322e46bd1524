"""The lab itself: several side by side, other sizes than the default, and nothing left behind."""

import json
import os
import signal
import subprocess
import tempfile
import unittest

from harness import LAB, STATE_ROOT, Labs, LabTest, document, endpoint, eventually

NETNS_DIR = "/run/netns"


def processes_of(prefix):
    """Living processes that were started for a lab: its directory stands in their command line or is their own."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
            here = os.readlink(f"/proc/{pid}/cwd")
        except OSError:  # it has ended
            continue
        if words != [""] and (here.startswith(f"{STATE_ROOT}/{prefix}/") or any(f"{STATE_ROOT}/{prefix}/" in word for word in words)):
            found.append(" ".join(words))
    return found


def free_hugepages():
    with open("/proc/meminfo", encoding="ascii") as file:
        return [line for line in file if line.startswith("HugePages")]


def mounts():
    with open("/proc/mounts", encoding="utf-8") as file:
        return [line for line in file if "ananta" in line or "hugetlbfs" in line]


class LabItself(unittest.TestCase):
    def assert_nothing_left(self, prefix):
        self.assertEqual([name for name in os.listdir(NETNS_DIR) if name.startswith(prefix + "-")], [])
        self.assertFalse(os.path.exists(f"{STATE_ROOT}/{prefix}"))
        self.assertEqual(processes_of(prefix), [])

    def test_down_leaves_nothing_behind(self):
        before = (free_hugepages(), mounts())
        lab = Labs.make("d", managers=1, muxes=1, hosts=1, vms=1).up()
        self.assertNotEqual(processes_of(lab.prefix), [])
        lab.down()
        self.assert_nothing_left(lab.prefix)
        self.assertEqual((free_hugepages(), mounts()), before)

    def test_down_cleans_up_after_an_up_that_was_killed(self):
        lab = Labs.make("k", managers=1, muxes=1, hosts=1, vms=2)
        manager = f"{lab.directory}/mgr1/ananta-manager.pid"
        for what, is_so in (
            ("its directory exists", lambda: os.path.exists(lab.directory)),
            ("the first namespace exists", lambda: os.path.exists(f"{NETNS_DIR}/{lab.prefix}-fabric")),
            ("the first program runs", lambda: os.path.exists(manager)),
            ("all configurations are written", lambda: os.path.exists(f"{lab.directory}/vm1-2")),
            ("the shared file is written", lambda: os.path.exists(f"{lab.directory}/big")),
        ):
            with self.subTest(killed_when=what):
                up = subprocess.Popen([LAB, "up", "--name", lab.prefix, "--quiet", "--managers", "1", "--muxes", "1", "--hosts", "1"])
                eventually(is_so, what)
                up.send_signal(signal.SIGKILL)
                up.wait()
                lab.down()
                self.assert_nothing_left(lab.prefix)

    def test_an_interrupted_up_cleans_up_after_itself(self):
        lab = Labs.make("i", managers=1, muxes=1, hosts=1, vms=1)
        up = subprocess.Popen([LAB, "up", "--name", lab.prefix, "--quiet"], stderr=subprocess.DEVNULL)
        eventually(lambda: os.path.exists(f"{NETNS_DIR}/{lab.prefix}-client1"), "namespaces exist")
        up.send_signal(signal.SIGTERM)
        self.assertNotEqual(up.wait(timeout=30), 0)
        self.assert_nothing_left(lab.prefix)

    def test_a_second_up_of_the_same_name_changes_nothing(self):
        lab = Labs.make("s", hosts=1, vms=1)
        lab.lab("up", "--quiet", "--bare", "--hosts", 1, "--vms", 1)
        before = lab.status()
        done = lab.lab("up", "--bare", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("exists already", done.stderr)
        after = lab.status()
        self.assertEqual([[p["pid"] for p in row["programs"]] for row in after.values()], [[p["pid"] for p in row["programs"]] for row in before.values()])
        lab.down()

    def test_an_up_that_fails_says_why_and_cleans_up(self):
        lab = Labs.make("f")
        with tempfile.TemporaryDirectory() as directory:
            os.symlink(f"{os.environ['ANANTA_BIN']}/ananta-mux", f"{directory}/ananta-mux")  # which prints the configuration of its BIRD
            for name in ("ananta-manager", "ananta-agent", "anantactl"):
                with open(f"{directory}/{name}", "w", encoding="ascii") as file:
                    file.write("#!/bin/sh\necho this program is broken >&2\nexit 1\n")
                os.chmod(f"{directory}/{name}", 0o755)
            done = subprocess.run([LAB, "up", "--name", lab.prefix], env={**os.environ, "ANANTA_BIN": directory}, capture_output=True, text=True,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("this program is broken", done.stderr)
        self.assertIn("mgr1", done.stderr)
        self.assert_nothing_left(lab.prefix)

    def test_bad_names_and_sizes_are_refused(self):
        for words in (("--name", "Big"), ("--name", "a-b"), ("--name", "waytoolong"), ("--name", ""), ("--hosts", "1000"), ("--managers", "0")):
            with self.subTest(words):
                done = subprocess.run([LAB, "up", *words], capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)

    def test_exec_passes_input_output_and_exit_code(self):
        lab = Labs.make("e", hosts=0, muxes=0)
        lab.lab("up", "--quiet", "--bare", "--hosts", 0, "--muxes", 0, "--managers", 1)
        done = lab.exec("client1", "sh", "-c", "read word; echo got $word; echo aside >&2; exit 42", check=False, stdin="input\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (42, "got input\n", "aside\n"))
        self.assertEqual(lab.exec("mgr1", "sh", "-c", "echo $ANANTA_MANAGERS").stdout, "10.0.0.11:7400\n")
        lab.down()

    def test_a_partition_is_silent_and_heals(self):
        lab = Labs.make("p")
        lab.lab("up", "--quiet", "--bare", "--hosts", 0, "--muxes", 0, "--managers", 2)

        def ping():
            return lab.exec("mgr1", "ping", "-c", 1, "-W", 1, "10.0.0.12", check=False)

        self.assertEqual(ping().returncode, 0)
        lab.partition("mgr2")
        cut = ping()
        self.assertIn("100% packet loss", cut.stdout)
        self.assertEqual(cut.stderr, "")
        self.assertTrue(lab.status()["mgr2"]["partitioned"])
        lab.heal("mgr2")
        self.assertEqual(ping().returncode, 0)
        lab.down()

    def test_killed_programs_start_again(self):
        lab = Labs.make("r", hosts=1, vms=1)
        lab.lab("up", "--quiet", "--bare", "--hosts", 1, "--vms", 1)

        def nginx():
            return lab.status()["vm1-1"]["programs"][0]

        self.assertEqual(nginx()["state"], "running")
        lab.kill("vm1-1", "STOP")
        self.assertEqual(nginx()["state"], "stopped")
        lab.kill("vm1-1")
        self.assertEqual(nginx()["state"], "dead")
        lab.start("vm1-1")
        eventually(lambda: lab.exec("vm1-1", "curl", "-sS", "http://10.1.1.11:8080/", check=False).stdout == "vm1-1\n", "nginx serves")
        lab.down()

    def test_labs_are_listed(self):
        lab = Labs.make("l")
        lab.lab("up", "--quiet", "--bare", "--hosts", 0, "--muxes", 0)
        self.assertIn(lab.prefix, [row["name"] for row in json.loads(lab.lab("list", "-o", "json").stdout)])
        lab.down()
        self.assertNotIn(lab.prefix, [row["name"] for row in json.loads(lab.lab("list", "-o", "json").stdout)])


class OtherLabs(LabTest):
    def test_two_labs_side_by_side_do_not_meet(self):
        other = Labs.make("b", managers=1, muxes=1, hosts=1, vms=1).up()
        self.apply(endpoint(["vm2-1"]))
        other.apply(document(self.vip, endpoint(["vm1-1"])))
        other.wait_announced(self.vip)
        self.assert_answers(self.lab.http(self.vip, 20), ["vm2-1"], 20)
        self.assert_answers(other.http(self.vip, 20), ["vm1-1"], 20)
        other.down()
        self.assert_answers(self.lab.http(self.vip, 20), ["vm2-1"], 20)

    def test_af_packet_serves_as_af_xdp_does(self):
        lab = Labs.make("a", managers=1, muxes=1, hosts=1, vms=2).up("--driver", "af_packet")
        lab.apply(document(self.vip, endpoint(["vm1-1", "vm1-2"])))
        lab.wait_announced(self.vip)
        self.assert_answers(lab.http(self.vip, 100), ["vm1-1", "vm1-2"], 100)
        self.assertEqual(lab.checksum_of(lab.start_download(self.vip, "/big")), lab.big_checksum())
        lab.down()

    def test_with_two_routers_and_two_clients_all_paths_are_used(self):
        lab = Labs.make("w", managers=1, muxes=2, hosts=2, vms=1, clients=2, routers=2).up()
        vms = ["vm1-1", "vm2-1"]
        lab.apply(document(self.vip, endpoint(vms)))
        for router in ("router1", "router2"):
            lab.wait_announced(self.vip, router=router)
        through = {router: lab.watch(router, f"ip daddr {self.vip} tcp flags & (syn | ack) == syn") for router in ("router1", "router2")}
        for client in ("client1", "client2"):
            self.assert_answers(lab.http(self.vip, 100, client=client), vms, 100)
        for router, watch in through.items():
            self.assertGreater(watch.packets(), 50, f"connections through {router}")
        lab.down()

    def test_the_loss_of_one_of_two_routers_is_survived(self):
        lab = Labs.make("x", managers=1, muxes=2, hosts=2, vms=1, routers=2).up()
        vms = ["vm1-1", "vm2-1"]
        lab.apply(document(self.vip, endpoint(vms)))
        for router in ("router1", "router2"):
            lab.wait_announced(self.vip, router=router)
        lab.partition("router1")
        eventually(lambda: not lab.http(self.vip, 20, timeout=3)["errors"], "all requests go through router2", deadline_s=60)
        self.assert_answers(lab.http(self.vip, 100), vms, 100)
        lab.down()
