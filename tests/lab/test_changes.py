"""The configuration changes while everything runs."""

from harness import LabTest, dip, document, endpoint, eventually


class Changes(LabTest):
    def answers(self, n=40):
        return sorted(self.lab.http(self.vip, n)["answers"])

    def test_a_dip_is_added_and_removed(self):
        self.apply(endpoint(["vm1-1"]))
        self.assertEqual(self.answers(), ["vm1-1"])
        self.lab.apply(document(self.vip, endpoint(["vm1-1", "vm2-1"])))
        eventually(lambda: self.answers() == ["vm1-1", "vm2-1"], "both DIPs answer")
        self.lab.apply(document(self.vip, endpoint(["vm2-1"])))
        eventually(lambda: self.answers() == ["vm2-1"], "only the second DIP answers")
        self.assert_answers(self.lab.http(self.vip, 100), ["vm2-1"], 100)

    def test_a_changed_weight_changes_the_shares(self):
        self.apply(endpoint({"vm1-1": 1, "vm2-1": 1}))
        self.lab.apply(document(self.vip, endpoint({"vm1-1": 1, "vm2-1": 9})))

        def by_the_new_weight():
            outcome = self.lab.http(self.vip, 300, sequential=True)
            self.assert_answers(outcome, ["vm1-1", "vm2-1"], 300)
            self.assert_spread(outcome["answers"], {"vm1-1": 1, "vm2-1": 9})
            return True

        eventually(by_the_new_weight, "requests follow the new weights")

    def test_an_endpoint_is_added_and_removed(self):
        self.apply(endpoint(["vm1-1"]))
        both = document(self.vip, endpoint(["vm1-1"]), endpoint(["vm2-1"], port=81, name="second"))
        self.lab.apply(both)
        eventually(lambda: self.lab.http(self.vip, 1, port=81, timeout=2)["answers"] == {"vm2-1": 1}, "the second endpoint answers")
        self.lab.apply(document(self.vip, endpoint(["vm1-1"])))
        eventually(lambda: self.lab.http(self.vip, 1, port=81, timeout=1)["errors"], "the second endpoint is gone")
        self.assertEqual(self.answers(), ["vm1-1"])

    def test_routes_of_a_deleted_vip_vanish(self):
        self.apply(endpoint(["vm1-1"]))
        self.lab.anantactl("vip", "delete", self.vip)
        eventually(lambda: self.lab.routes(self.vip) == [], "router1 has no route to the VIP")
        self.assertNotIn(self.vip, [row["vip"] for row in self.lab.ask("vip", "list")])

    def test_a_vm_is_detached_and_attached_again(self):
        self.apply(endpoint(["vm1-2"]))
        self.assertEqual(self.answers(5), ["vm1-2"])
        self.addCleanup(lambda: self.lab.attach("vm1-2", check=False))
        self.lab.detach("vm1-2")
        self.assertNotIn(dip("vm1-2"), [row["dip"] for row in self.lab.ask("dip", "list")])
        eventually(lambda: self.lab.http(self.vip, 1, timeout=1)["errors"], "the detached VM does not answer")
        self.lab.attach("vm1-2")
        eventually(lambda: self.lab.http(self.vip, 5, timeout=2)["answers"] == {"vm1-2": 5}, "the VM answers again")

    def test_neighbours_of_a_detached_vm_notice_nothing(self):
        self.apply(endpoint(["vm1-1"]))
        download = self.lab.start_download(self.vip)
        self.addCleanup(lambda: self.lab.attach("vm1-2", check=False))
        self.lab.detach("vm1-2")
        self.lab.attach("vm1-2")
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())
