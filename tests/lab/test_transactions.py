"""The configuration as transactions: planned, made as a whole or not at all, acknowledged, gone back on."""

import json
import pathlib
import tempfile

from harness import LabTest, dip, document, endpoint, eventually

MANY_VIPS = 400
MANY_ENDPOINTS = 10


def many(vms):
    """Documents of more than one Raft entry can hold."""
    return [document(f"203.1.{n // 250}.{n % 250 + 1}", *(endpoint(vms, port=80 + p, name=f"e{p}") for p in range(MANY_ENDPOINTS)))
            for n in range(MANY_VIPS)]


class Transactions(LabTest):
    def prune_all(self):
        self.lab.anantactl("--timeout", 30, "apply", "-f", "-", "--prune", stdin=json.dumps({"vips": []}), check=False)

    def apply_all(self, documents, *more, **how):
        return self.lab.anantactl("--timeout", 30, "apply", "-f", "-", *more, stdin=json.dumps(documents), **how)

    def test_a_change_is_acknowledged_by_all_muxes_and_agents(self):
        self.apply(endpoint(["vm1-1"]))
        doc = document(self.vip, endpoint(["vm1-1", "vm2-1"]))
        took = sorted(self.lab.tool("mgr1", "apply_many", json.dumps(doc), 200)["ms"])
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"vip apply --wait, program and all: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        self.assertLess(p50, 100)
        self.assertLess(p99, 1000)
        said = self.lab.ask("vip", "apply", "-f", "-", "--wait", stdin=json.dumps({**doc, "drain_s": 50}))
        self.assertEqual((said["wait"]["acknowledged"], said["wait"]["n_behind"], said["wait"]["n_not_connected"]), (5, 0, 0))

    def test_who_does_not_acknowledge_is_named(self):
        self.apply(endpoint(["vm1-1"]))
        self.lab.kill("host2", "STOP")
        self.addCleanup(lambda: self.lab.kill("host2", "CONT"))
        done = self.lab.anantactl("-o", "json", "vip", "apply", "-f", "-", "--wait=1", stdin=json.dumps(document(self.vip, endpoint(["vm2-1"]))),
                                  check=False)
        self.assertEqual(done.returncode, 3)
        said = json.loads(done.stdout)
        self.assertEqual(said["result"], "applied")
        self.assertEqual([row["name"] for row in said["wait"]["behind"]], ["host2"])

    def test_traffic_follows_a_rollback(self):
        self.apply(endpoint(["vm1-1"]))
        self.lab.apply(document(self.vip, endpoint(["vm2-1"])))
        eventually(lambda: set(self.lab.http(self.vip, 10)["answers"]) == {"vm2-1"}, "vm2-1 serves")
        first = self.lab.ask("vip", "history", self.vip)[-1]["version"]
        self.lab.anantactl("vip", "rollback", self.vip, "--to", first, "--wait")
        self.assert_answers(self.lab.http(self.vip, 30), ["vm1-1"], 30)

    def test_a_plan_counts_the_connections_that_it_touches_and_changes_nothing(self):
        self.apply(endpoint(["vm1-1", "vm2-1"]))
        before = self.lab.ask("vip", "show", self.vip)
        downloads = [self.lab.start_download(self.vip) for _ in range(6)]

        def plan():
            done = self.lab.anantactl("-o", "json", "vip", "plan", "-f", "-", stdin=json.dumps(document(self.vip, endpoint(["vm2-1"]))), check=False)
            self.assertEqual(done.returncode, 4)
            return json.loads(done.stdout)["vips"][0]["endpoints"][0]

        flows = {row["dip"]: row["flows"] for row in self.lab.ask("dip", "list")}
        planned = eventually(lambda: (p := plan())["connections"] and p["connections"]["leaving"] > 0 and p, "vm1-1 has connections")
        self.assertEqual([(row["dip"], row["action"]) for row in planned["dips"]], [(dip("vm1-1"), "remove")])
        self.assertEqual(planned["connections"]["moved"], 0)  # all that moves, moves from the DIP that goes
        self.assertTrue(45 < planned["moved_percent"] < 55, planned)
        self.assertGreaterEqual(planned["connections"]["leaving"], flows[dip("vm1-1")])
        self.assertEqual(self.lab.ask("vip", "show", self.vip), before)
        for download in downloads:
            self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())

    def test_a_change_whose_leader_dies_half_way_is_made_as_a_whole_or_not(self):
        self.addCleanup(self.prune_all)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps(many(["vm1-1", "vm2-1"])))
            file.flush()
            leader = self.lab.leader()
            other = next(node for node in ("mgr1", "mgr2", "mgr3") if node != leader)
            child = self.lab.spawn(other, "anantactl", "--timeout", 30, "apply", "-f", file.name)
            eventually(lambda: self.lab.ask("cluster", "status", node=other) and True, "the cluster answers")
            self.lab.kill(leader)
            child.wait(timeout=60)
            n = len(eventually(lambda: self.lab.anantactl("-o", "json", "vip", "list", node=other).stdout and
                               [self.lab.ask("vip", "list", node=other)], "an answer")[0])
            self.assertIn(n, (0, MANY_VIPS))
            self.lab.start(leader)
            self.lab.anantactl("--timeout", 30, "apply", "-f", file.name, "--wait", node=other)
        self.assertEqual(len(self.lab.ask("vip", "list")), MANY_VIPS)

    def test_what_is_exported_is_the_same_when_applied(self):
        self.addCleanup(self.prune_all)
        self.apply_all(many(["vm1-1"])[:20])
        with tempfile.TemporaryDirectory() as folder:
            self.lab.anantactl("export", f"{folder}/out")
            self.assertEqual(len(list(pathlib.Path(folder, "out").glob("vip-*.json"))), 20)
            was = self.lab.ask("vip", "list")
            self.prune_all()
            self.assertEqual(self.lab.ask("vip", "list"), [])
            self.lab.anantactl("apply", "-f", f"{folder}/out", "--prune")
            self.assertEqual(self.lab.ask("vip", "list"), was)
            self.assertIn("unchanged", self.lab.anantactl("apply", "-f", f"{folder}/out", "--prune").stdout)

    def test_a_directory_with_one_bad_vip_changes_nothing(self):
        self.addCleanup(self.prune_all)
        documents = many(["vm1-1"])[:3]
        self.apply_all(documents)
        documents[1] = document(documents[1]["vip"], endpoint(["vm2-1"]), tenant="other")
        documents[2] = document(documents[2]["vip"], endpoint(["vm2-1"]))
        was = self.lab.ask("vip", "list")
        done = self.apply_all(documents, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("tenant", done.stderr)
        self.assertEqual(self.lab.ask("vip", "list"), was)
