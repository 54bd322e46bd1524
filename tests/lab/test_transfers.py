"""Large transfers arrive as they were sent, both ways."""

import json

from harness import LabTest, endpoint, eventually


class Transfers(LabTest):
    def test_a_large_download_has_the_right_checksum(self):
        self.apply(endpoint(["vm1-1"]))
        self.assertEqual(self.lab.checksum_of(self.lab.start_download(self.vip, "/big")), self.lab.big_checksum())

    def test_a_large_upload_has_the_right_checksum(self):
        self.lab.serve("vm2-1", "tcp-sink", 9000)
        self.apply(endpoint(["vm2-1"], port=9, dip_port=9000))
        outcome = self.lab.tool("client1", "transfer", "upload", f"{self.vip}:9", self.lab.big_file())
        self.assertEqual(outcome, {"sent": self.lab.big_checksum(), "received": self.lab.big_checksum()})

    def test_both_ways_at_once_have_the_right_checksum(self):
        self.lab.serve("vm3-1", "tcp-echo", 7000)
        self.apply(endpoint(["vm3-1"], port=7, dip_port=7000))
        outcome = self.lab.tool("client1", "transfer", "echo", f"{self.vip}:7", 20_000_000)
        self.assertEqual(outcome["sent"], outcome["received"])

    def test_ten_downloads_at_once_have_the_right_checksum(self):
        self.apply(endpoint(["vm1-1", "vm1-2", "vm2-1", "vm2-2", "vm3-1", "vm3-2"]))
        downloads = [self.lab.start_download(self.vip, "/big") for _ in range(10)]
        self.assertEqual({self.lab.checksum_of(download) for download in downloads}, {self.lab.big_checksum()})


class Iperf(LabTest):
    """iperf3 over both families, through the muxes on the way in; small loads, since all nodes share the machine."""

    PORT = 5201

    def run_iperf(self, vip, *more):
        server = self.lab.spawn("vm1-1", "iperf3", "-s", "-1", "-p", self.PORT)
        eventually(lambda: f":{self.PORT} " in self.lab.exec("vm1-1", "ss", "-Hltn").stdout, "iperf3 listens")
        said = self.lab.exec("client1", "iperf3", "-J", "-c", vip, "-p", self.PORT, "-t", "3", *more, check=False, timeout_s=30).stdout
        server.wait(timeout=10)
        result = json.loads(said)
        self.assertNotIn("error", result)
        return result["end"]

    def test_tcp_and_udp_of_both_families(self):
        both = [("tcp", 4), ("udp", 4), ("tcp", 6), ("udp", 6)]
        for family, vip in ((4, self.vip), (6, self.vip6)):
            self.apply(*(endpoint(["vm1-1"], port=self.PORT, dip_port=self.PORT, protocol=protocol, name=protocol, family=family)
                         for protocol in ("tcp", "udp")), vip=vip)
        for protocol, family in both:
            with self.subTest(f"{protocol} over IPv{family}"):
                vip = self.vip if family == 4 else self.vip6
                if protocol == "tcp":
                    self.assertGreater(self.run_iperf(vip)["sum_received"]["bytes"], 10_000_000)
                else:
                    result = self.run_iperf(vip, "-u", "-b", "20M", "-l", "1200")["sum"]
                    self.assertGreater(result["packets"], 5000)
                    self.assertLess(result["lost_percent"], 1)
