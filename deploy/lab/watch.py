"""Counting packets in a namespace by nftables, beside what the programs say of themselves: for the demo and for tests."""

import itertools
import subprocess

import namespaces


class Watch:
    """Counts the packets that match an nftables expression at a hook, from its making until remove().

    Between the nodes of the fabric: family "bridge", hook "forward", and iifname/oifname are the nodes' names.
    """

    _numbers = itertools.count(1)

    def __init__(self, namespace, match, family="inet", hook="prerouting"):
        self.namespace = namespace
        self.table = f"{family} watch{next(self._numbers)}"
        self._nft(f"table {self.table} {{ chain c {{ type filter hook {hook} priority -300; {match} counter; }}; }}")

    def packets(self):
        words = self._nft(f"list table {self.table}").split()
        return int(words[words.index("packets") + 1])

    def remove(self):
        self._nft(f"delete table {self.table}")

    def _nft(self, command):
        return subprocess.run(namespaces.inside(self.namespace, "nft", command), capture_output=True, text=True, check=True).stdout
