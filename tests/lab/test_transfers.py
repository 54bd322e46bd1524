"""Large transfers arrive as they were sent, both ways."""

from harness import LabTest, endpoint


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
