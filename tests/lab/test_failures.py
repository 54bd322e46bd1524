"""Programs and machines die and come back."""

from harness import LabTest, document, endpoint, eventually

VMS = ["vm1-1", "vm2-1", "vm3-1"]


class MuxFailures(LabTest):
    def carrying_mux(self):
        """The mux that most packets to the VIP go through at this moment."""
        watches = {mux: self.watch("fabric", f'oifname "{mux}" ip daddr {self.vip}', family="bridge", hook="forward") for mux in self.lab.all_muxes()}
        eventually(lambda: sum(watch.packets() for watch in watches.values()) > 100, "the download runs")
        return max(watches, key=lambda mux: watches[mux].packets())

    def test_a_download_survives_the_death_of_its_mux(self):
        self.apply(endpoint(VMS))
        download = self.lab.start_download(self.vip)
        mux = self.carrying_mux()
        self.lab.kill(mux)
        self.lab.wait_announced(self.vip, set(self.lab.all_muxes()) - {mux})
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())

    def test_a_download_survives_a_partition_of_its_mux(self):
        self.apply(endpoint(VMS))
        download = self.lab.start_download(self.vip)
        mux = self.carrying_mux()
        self.lab.partition(mux)
        self.lab.wait_announced(self.vip, set(self.lab.all_muxes()) - {mux})
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())

    def test_a_hung_mux_loses_its_routes(self):
        self.apply(endpoint(VMS))
        self.lab.kill("mux1", "STOP")
        self.lab.wait_announced(self.vip, ["mux2"])
        self.assert_answers(self.lab.http(self.vip, 60), VMS, 60)

    def test_a_restarted_mux_comes_back(self):
        self.apply(endpoint(VMS))
        self.lab.kill("mux1")
        self.lab.wait_announced(self.vip, ["mux2"])
        self.lab.start("mux1")
        self.lab.wait_announced(self.vip)
        eventually(lambda: {row["name"]: row["state"] for row in self.lab.ask("mux", "list")}["mux1"] == "announcing", "mux1 announces")
        self.assert_answers(self.lab.http(self.vip, 60), VMS, 60)

    def test_a_mux_that_ends_by_sigterm_withdraws_its_routes(self):
        self.apply(endpoint(VMS))
        self.lab.kill("mux2", "TERM")
        self.lab.wait_announced(self.vip, ["mux1"])

    def test_a_mux_learns_what_was_changed_while_it_was_away(self):
        self.apply(endpoint(["vm1-1"]))
        self.lab.kill("mux1")
        self.lab.apply(document(self.vip, endpoint(["vm2-1"])))
        self.lab.start("mux1")
        self.lab.wait_announced(self.vip)
        self.assert_answers(self.lab.http(self.vip, 40), ["vm2-1"], 40)


class ManagerFailures(LabTest):
    def managers(self):
        return [node for node in self.lab.status() if node.startswith("mgr")]

    def roles(self, node):
        return sorted(row["role"] for row in self.lab.replicas(node))

    def test_a_vip_is_added_right_after_the_death_of_the_leader(self):
        leader = self.lab.leader()
        other = next(node for node in self.managers() if node != leader)
        self.lab.kill(leader)
        self.lab.apply(document(self.vip, endpoint(VMS)), node=other)
        self.addCleanup(lambda: self.lab.anantactl("vip", "delete", self.vip, check=False))
        self.lab.wait_announced(self.vip)
        self.assert_answers(self.lab.http(self.vip, 60), VMS, 60)
        self.lab.start(leader)
        eventually(lambda: self.roles(other) == ["follower", "follower", "leader"], f"{leader} follows")

    def test_a_partitioned_leader_is_replaced(self):
        leader = self.lab.leader()
        other = next(node for node in self.managers() if node != leader)
        self.lab.partition(leader)
        self.lab.apply(document(self.vip, endpoint(VMS)), node=other)
        self.addCleanup(lambda: self.lab.anantactl("vip", "delete", self.vip, check=False))
        self.lab.wait_announced(self.vip)
        self.lab.heal(leader)
        eventually(lambda: self.roles(other) == ["follower", "follower", "leader"], "one leader, two followers")

    def test_a_cut_off_minority_accepts_nothing(self):
        leader = self.lab.leader()
        self.lab.partition(leader)
        done = self.lab.apply(document(self.vip, endpoint(VMS)), node=leader, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        # Once the majority has a leader of its own, what the minority wrote down can never be committed. (Before, the old leader
        # could be elected again and commit it: the answer was that it may have been made or not.)
        other = next(node for node in self.managers() if node != leader)
        eventually(lambda: "leader" in self.roles(other), "a leader of the majority")
        self.lab.heal(leader)
        eventually(lambda: self.lab.leader() is not None, "a leader")
        self.assertNotIn(self.vip, [row["vip"] for row in self.lab.ask("vip", "list")])

    def configured(self):
        """What the managers keep. How many flows a DIP has is the agents' own, and goes down as time passes."""
        dips = [{field: value for field, value in row.items() if field != "flows"} for row in self.lab.ask("dip", "list")]
        return [self.lab.ask("vip", "list"), self.lab.ask("vip", "show", self.vip), dips]

    def test_the_state_survives_the_death_of_all_managers(self):
        self.apply(endpoint(VMS))
        before = self.configured()
        for node in self.managers():
            self.lab.kill(node)
        for node in self.managers():
            self.lab.start(node)
        eventually(lambda: self.lab.leader() is not None, "a leader")
        eventually(lambda: self.configured() == before, "the state is what it was")
        self.lab.apply(document(self.vip, endpoint(["vm2-1"])))
        eventually(lambda: self.lab.http(self.vip, 20)["answers"] == {"vm2-1": 20}, "muxes and agents follow the managers again")

    def test_packets_flow_while_no_manager_lives(self):
        self.apply(endpoint(VMS))
        self.assert_answers(self.lab.http(self.vip, 60), VMS, 60)
        for node in self.managers():
            self.lab.kill(node)
        self.assert_answers(self.lab.http(self.vip, 300, sequential=True), VMS, 300)
        self.assertEqual(self.lab.routes(self.vip), self.lab.all_muxes())
        download = self.lab.start_download(self.vip)
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())
        self.assertEqual(self.lab.anantactl("vip", "list", check=False).returncode, 3)

    def test_any_manager_alone_leads_to_the_leader(self):
        self.apply(endpoint(VMS))
        for node in self.managers():
            address = self.lab.status()[node]["address"]
            rows = self.lab.ask("--managers", f"{address}:7400", "vip", "list")
            self.assertIn(self.vip, [row["vip"] for row in rows], f"asked {node}")

    def test_a_lost_minority_of_managers_does_not_matter(self):
        follower = next(node for node in self.managers() if node != self.lab.leader())
        self.lab.kill(follower)
        self.apply(endpoint(VMS))
        self.assert_answers(self.lab.http(self.vip, 60), VMS, 60)
        self.lab.start(follower)
        eventually(lambda: self.roles(follower) == ["follower", "follower", "leader"], f"{follower} follows")


class AgentFailures(LabTest):
    def test_traffic_works_again_after_an_agent_was_restarted(self):
        self.apply(endpoint(["vm1-1", "vm1-2"]))
        self.lab.kill("host1")
        self.lab.start("host1")
        eventually(lambda: sorted(self.lab.http(self.vip, 20, timeout=3)["answers"]) == ["vm1-1", "vm1-2"], "the VMs of host1 answer")

    def test_a_download_survives_the_restart_of_its_agent(self):
        self.apply(endpoint(["vm1-1"]))
        download = self.lab.start_download(self.vip)
        arriving = self.watch("client1", f"ip saddr {self.vip}")
        eventually(lambda: arriving.packets() > 100, "the download runs")
        self.lab.kill("host1")
        self.lab.start("host1")
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())

    def test_other_hosts_do_not_notice_the_death_of_an_agent(self):
        self.apply(endpoint(["vm2-1"]))
        download = self.lab.start_download(self.vip)
        self.lab.kill("host1")
        self.assertEqual(self.lab.checksum_of(download), self.lab.big_checksum())
        states = {row["name"]: row["state"] for row in self.lab.ask("host", "list")}
        self.assertEqual((states["host1"], states["host2"]), ("unreachable", "ready"))

    def test_an_agent_restarted_while_no_manager_leads_is_served_when_one_does(self):
        self.apply(endpoint(["vm1-1"]))
        managers = [node for node in self.lab.status() if node.startswith("mgr")]
        for node in managers:
            self.lab.kill(node)
        self.lab.kill("host1")
        self.lab.start("host1")
        for node in managers:
            self.lab.start(node)
        eventually(lambda: self.lab.http(self.vip, 5, timeout=3)["answers"] == {"vm1-1": 5}, "the VM answers again")
