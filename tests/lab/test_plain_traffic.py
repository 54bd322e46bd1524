"""Traffic that has nothing to do with a VIP passes the agents untouched."""

from harness import LabTest, dip


class PlainTraffic(LabTest):
    def fetch(self, node, vm, path="/whoami"):
        return self.lab.exec(node, "curl", "-sS", "--max-time", 20, f"http://{dip(vm)}:8080{path}").stdout

    def test_vms_of_one_host_reach_each_other(self):
        self.assertTrue(self.fetch("vm1-1", "vm1-2").startswith(f"vm1-2 {dip('vm1-1')}:"))

    def test_vms_of_different_hosts_reach_each_other(self):
        self.assertTrue(self.fetch("vm1-1", "vm3-2").startswith(f"vm3-2 {dip('vm1-1')}:"))

    def test_a_client_reaches_a_dip_directly(self):
        self.assertTrue(self.fetch("client1", "vm2-1").startswith("vm2-1 198.51.100.11:"))

    def test_a_large_transfer_between_dips_has_the_right_checksum(self):
        said = self.lab.exec("vm1-1", "sh", "-c", f"curl -sS --max-time 60 http://{dip('vm2-1')}:8080/big | sha256sum").stdout
        self.assertEqual(said.split()[0], self.lab.big_checksum())

    def test_vms_ping_each_other_and_the_outside(self):
        for address in (dip("vm1-2"), dip("vm2-1"), "10.0.0.1", "198.51.100.11"):
            self.assertIn(" 3 received", self.lab.exec("vm1-1", "ping", "-c", 3, "-i", "0.05", "-W", 2, address).stdout)
