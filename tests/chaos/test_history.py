"""The judge must find what is wrong, and nothing where all is well."""

import math
import random
import unittest

from history import ACKNOWLEDGED, REFUSED, UNKNOWN, Operation, double_leases, lost_writes, problems_of


def write(value, begin, end, outcome=ACKNOWLEDGED, version=0, key="v"):
    return Operation("write", key, value, begin, math.inf if outcome == UNKNOWN else end, outcome, version)


def read(value, begin, end, key="v"):
    return Operation("read", key, value, begin, end)


class Judge(unittest.TestCase):
    def assert_sound(self, *operations):
        self.assertEqual(problems_of(operations), [])

    def assert_wrong(self, sentence, *operations):
        self.assertRegex("\n".join(problems_of(operations)), sentence)

    def test_what_comes_one_after_the_other_is_sound(self):
        self.assert_sound(read("", 0, 1), write("a", 1, 2, version=1), read("a", 3, 4), write("b", 5, 6, version=2), read("b", 7, 8))

    def test_reads_beside_a_write_may_see_either(self):
        self.assert_sound(write("a", 0, 1), write("b", 2, 10), read("a", 3, 4), read("b", 5, 6), read("b", 11, 12))

    def test_a_value_that_comes_back_is_found(self):
        self.assert_wrong("both there|gone again", write("a", 0, 1), write("b", 2, 10), read("b", 3, 4), read("a", 5, 6))

    def test_a_stale_read_is_found(self):
        self.assert_wrong("both there|gone again", write("a", 0, 1), write("b", 2, 3), read("a", 4, 5))

    def test_a_read_of_nothing_after_a_write_is_found(self):
        self.assert_wrong("nothing", write("a", 0, 1), read("", 2, 3))

    def test_a_refused_write_that_is_read_is_found(self):
        self.assert_wrong("was refused", write("a", 0, 1, REFUSED), read("a", 2, 3))

    def test_a_value_that_nobody_wrote_is_found(self):
        self.assert_wrong("nobody wrote", read("x", 2, 3))

    def test_a_read_before_its_write_is_found(self):
        self.assert_wrong("before it was written", read("a", 0, 1), write("a", 2, 3))

    def test_a_write_of_which_nobody_knows_may_happen_late_or_never(self):
        self.assert_sound(write("a", 0, 1), write("u", 2, 3, UNKNOWN), read("a", 4, 5), read("u", 6, 7), read("u", 8, 9))
        self.assert_sound(write("a", 0, 1), write("u", 2, 3, UNKNOWN), read("a", 4, 5), read("a", 6, 7))
        self.assert_wrong("both there|gone again", write("a", 0, 1), write("u", 2, 3, UNKNOWN), read("u", 4, 5), read("a", 6, 7))

    def test_versions_that_run_against_time_are_found(self):
        self.assert_wrong("later version", write("a", 0, 1, version=7, key="v"), write("b", 2, 3, version=5, key="w"))
        self.assert_wrong("same version", write("a", 0, 1, version=7, key="v"), write("b", 2, 3, version=7, key="w"))

    def test_lost_writes_are_found(self):
        history = [write("a", 0, 1, version=1), write("b", 2, 3, version=2), write("u", 4, 5, UNKNOWN)]
        self.assertEqual(lost_writes(history, {"v": "b"}), [])
        self.assertEqual(lost_writes(history, {"v": "u"}), [])
        self.assertEqual(len(lost_writes(history, {"v": "a"})), 1)
        self.assertEqual(len(lost_writes(history, {"v": ""})), 1)

    def test_double_leases_are_found(self):
        rows = [{"vip": "V", "dip": "1", "first_port": 1024, "last_port": 1031}, {"vip": "V", "dip": "2", "first_port": 1032, "last_port": 1039}]
        self.assertEqual(double_leases(rows), [])
        self.assertEqual(len(double_leases([*rows, {"vip": "V", "dip": "3", "first_port": 1030, "last_port": 1033}])), 2)

    def test_true_registers_are_sound_and_broken_ones_are_not(self):
        """Random histories of a real register, with operations that overlap: sound. With some reads made stale by 5: nearly always found."""
        n_found = 0
        for seed in range(200):
            rng = random.Random(seed)
            operations, values, now = [], [""], 0.0
            for n in range(60):
                now += rng.random()
                before, after = rng.random() * 2, rng.random() * 2
                if rng.random() < 0.5:
                    values.append(f"w{n}")
                    operations.append(write(values[-1], now - before, now + after, version=n + 1))
                else:
                    operations.append(read(values[-1], now - before, now + after))
            self.assertEqual(problems_of(operations), [], f"seed {seed}")
            late = [operation for operation in operations if operation.kind == "read" and operation.begin > now / 2]
            if late:
                rng.choice(late).value = values[1] if len(values) > 8 else "never"
                n_found += bool(problems_of(operations))
        self.assertGreater(n_found, 190)


if __name__ == "__main__":
    unittest.main()
