"""A lab that has nothing to do leaves the processor to others."""

import time

from harness import LabTest, eventually

WINDOW_S = 4
LIMIT = 0.10  # of one core, for everything together


class Idle(LabTest):
    def cpu_seconds(self):
        return {(node, p["program"]): p["cpu_seconds"] for node, row in self.lab.status().items() for p in row["programs"]}

    def test_an_idle_lab_uses_less_than_a_tenth_of_a_core(self):
        def is_quiet():
            before, began = self.cpu_seconds(), time.monotonic()
            time.sleep(WINDOW_S)  # what is measured, not what is waited for
            after, took = self.cpu_seconds(), time.monotonic() - began
            used = {name: (after[name] - before[name]) / took for name in before}
            busiest = sorted(used.items(), key=lambda item: -item[1])[:3]
            self.assertLess(sum(used.values()), LIMIT, f"busiest: {busiest}")
            return True

        eventually(is_quiet, f"less than {LIMIT:.0%} of a core", deadline_s=5 * WINDOW_S)
