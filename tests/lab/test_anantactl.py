"""The operator's command line: what it prints, what it refuses, and how it says so."""

import copy
import json
import tempfile

from harness import LabTest, dip, document, endpoint, eventually


def good(vip):
    return document(vip, endpoint({"vm1-1": 1, "vm2-1": 2}))


def changed(doc, change):
    doc = copy.deepcopy(doc)
    change(doc, doc["endpoints"][0], doc["endpoints"][0]["dips"][0])
    return doc


def put(key, value, level):
    """A change of one field: level 0 is the document, 1 its first endpoint, 2 that one's first DIP."""
    def change(*levels):
        levels[level][key] = value
    return change


def drop(key, level):
    def change(*levels):
        del levels[level][key]
    return change


# What is wrong, how it comes about, and which words the one sentence of the answer must contain.
BAD_DOCUMENTS = [
    ("an endpoint twice", lambda d, e, p: d["endpoints"].append({**e, "name": "again"}), ["endpoint"]),
    ("a name of an endpoint twice", lambda d, e, p: d["endpoints"].append({**e, "port": 81}), ["name"]),
    ("a DIP twice", lambda d, e, p: e["dips"].append(dict(p)), ["dip", dip("vm1-1")]),
    ("port 0", put("port", 0, 1), ["port"]),
    ("a port too large", put("port", 65536, 1), ["port"]),
    ("a negative port", put("port", -1, 1), ["port"]),
    ("a port that is text", put("port", "80", 1), ["port"]),
    ("a broken port", put("port", 80.5, 1), ["port"]),
    ("a DIP's port 0", put("port", 0, 2), ["port"]),
    ("no port", drop("port", 1), ["port"]),
    ("weight 0", put("weight", 0, 2), ["weight"]),
    ("a negative weight", put("weight", -3, 2), ["weight"]),
    ("a huge weight", put("weight", 10**12, 2), ["weight"]),
    ("no DIPs", put("dips", [], 1), ["dips"]),
    ("no list of DIPs", drop("dips", 1), ["dips"]),
    ("no endpoints", put("endpoints", [], 0), ["endpoints"]),
    ("endpoints that are no list", put("endpoints", {}, 0), ["endpoints"]),
    ("a null for an endpoint", put("endpoints", [None], 0), ["endpoints"]),
    ("an unknown field", put("colour", "red", 0), ["colour"]),
    ("an unknown field of an endpoint", put("tls", True, 1), ["tls"]),
    ("an unknown field of a DIP", put("zone", 1, 2), ["zone"]),
    ("a field of a later version", put("probe", {}, 1), ["probe"]),
    ("a VIP that is no address", put("vip", "203.0.113.300", 0), ["vip"]),
    ("a VIP that is a network", put("vip", "203.0.113.0/24", 0), ["vip"]),
    ("no VIP", drop("vip", 0), ["vip"]),
    ("a DIP that is no address", put("dip", "vm1-1", 2), ["dip"]),
    ("an unknown protocol", put("protocol", "sctp", 1), ["protocol"]),
    ("no tenant", drop("tenant", 0), ["tenant"]),
    ("a tenant that is a number", put("tenant", 7, 0), ["tenant"]),
    ("a snat that is a list", put("snat", [], 0), ["snat"]),
    ("a snat with an unknown field", put("snat", {"dips": [dip("vm1-1")], "speed": 1}, 0), ["speed"]),
    ("10,000 DIPs", lambda d, e, p: e.update(dips=[{"dip": f"10.2.{n // 250}.{n % 250 + 1}", "port": 80, "weight": 1} for n in range(10000)]),
     ["dips"]),
]

MALFORMED = [
    ("a comma too many", '{\n  "vip": "203.0.113.10",\n  "tenant": "shop",,\n}', ["line 3", "column"]),
    ("an end too early", '{\n  "vip": "203.0.113.10"\n', ["line"]),
    ("nothing", "", ["line"]),
    ("text behind the end", '{"vip": "203.0.113.10"}\n}', ["line 2"]),
    ("a list for a document", "[]", ["object"]),
    ("a number for a document", "7", []),
    ("a key twice", '{"vip": "203.0.113.10", "vip": "203.0.113.11"}', ["vip"]),
    ("100,000 brackets", "[" * 100000, ["line 1"]),
]


class BadInput(LabTest):
    def assert_refused(self, done, words):
        self.assertIn(done.returncode, (1, 2), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, f"not one sentence: {done.stderr[:500]}")
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_bad_documents_are_refused_with_the_name_of_the_field(self):
        self.apply(*good(self.vip)["endpoints"])
        stands = self.lab.ask("vip", "show", self.vip)
        for what, change, words in BAD_DOCUMENTS:
            with self.subTest(what):
                self.assert_refused(self.lab.apply(changed(good(self.vip), change), check=False), words)
        self.assertEqual(self.lab.ask("vip", "show", self.vip), stands)
        self.assertEqual(sorted(self.lab.http(self.vip, 30)["answers"]), ["vm1-1", "vm2-1"])

    def test_malformed_json_is_refused_with_line_and_column(self):
        for what, text, words in MALFORMED:
            with self.subTest(what):
                done = self.lab.apply(text, check=False)
                self.assert_refused(done, words)
                self.assertEqual(done.returncode, 2)

    def test_a_file_of_100_mb_is_refused_at_once(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write('{"vip": "203.0.113.10", "tenant": "')
            for _ in range(100):
                file.write("x" * 1_000_000)
            file.write('"}')
            file.flush()
            done = self.lab.anantactl("vip", "apply", "-f", file.name, check=False, timeout_s=10)
        self.assert_refused(done, ["large"])

    def test_a_vip_of_another_tenant_is_refused(self):
        self.apply(*good(self.vip)["endpoints"])
        stands = self.lab.ask("vip", "show", self.vip)
        done = self.lab.apply({**good(self.vip), "tenant": "other"}, check=False)
        self.assert_refused(done, ["tenant"])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.lab.ask("vip", "show", self.vip), stands)

    def test_a_file_that_is_not_there_is_named(self):
        self.assert_refused(self.lab.anantactl("vip", "apply", "-f", "no-such-file.json", check=False), ["no-such-file.json"])

    def test_what_does_not_exist_is_named(self):
        for words in (("vip", "show", "203.0.113.254"), ("vip", "delete", "203.0.113.254"), ("mux", "show", "mux99"), ("host", "show", "host99")):
            with self.subTest(words):
                done = self.lab.anantactl(*words, check=False)
                self.assert_refused(done, [words[-1]])
                self.assertEqual(done.returncode, 1)

    def test_wrong_usage_ends_with_2(self):
        for words in ((), ("vip",), ("vip", "frobnicate"), ("vip", "show"), ("--nonsense",), ("vip", "apply"), ("-o", "xml", "vip", "list")):
            with self.subTest(words):
                self.assertEqual(self.lab.anantactl(*words, check=False).returncode, 2)

    def test_no_manager_ends_with_3(self):
        done = self.lab.anantactl("--managers", "10.0.0.99:7400", "--timeout", 2, "vip", "list", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(len(done.stderr.splitlines()), 1)


class Output(LabTest):
    def test_every_list_is_json_for_programs(self):
        self.apply(*good(self.vip)["endpoints"])
        for words, key, value in (
            (("vip", "list"), "vip", self.vip), (("mux", "list"), "name", "mux1"), (("host", "list"), "name", "host1"),
            (("dip", "list"), "dip", dip("vm1-1")),
        ):
            with self.subTest(words):
                self.assertIn(value, [row[key] for row in self.lab.ask(*words)])
        for words, name in ((("mux", "show", "mux1"), "mux1"), (("host", "show", "host1"), "host1")):
            with self.subTest(words):
                shown = self.lab.ask(*words)
                self.assertEqual(shown["name"], name)
                self.assertTrue(all(isinstance(value, int) for value in shown["counters"].values()))
        self.assertEqual(sorted(row["role"] for row in self.lab.replicas()), ["follower", "follower", "leader"])

    def test_every_list_is_a_table_for_people(self):
        self.apply(*good(self.vip)["endpoints"])
        for words, cells in (
            (("vip", "list"), ["VIP", self.vip]), (("vip", "show", self.vip), [self.vip, dip("vm2-1")]),
            (("mux", "list"), ["NAME", "ADDRESS", "STATE", "mux2", "10.0.0.32", "announcing"]),
            (("host", "list"), ["NAME", "ADDRESS", "STATE", "host3", "ready"]),
            (("dip", "list"), ["DIP", "HOST", "VM", dip("vm3-2"), "attached", self.vip]), (("cluster", "status"), ["ROLE", "leader", "follower"]),
        ):
            with self.subTest(words):
                said = eventually(lambda words=words: self.lab.anantactl(*words).stdout, "an answer")
                for cell in cells:
                    self.assertIn(cell, said)

    def test_a_shown_vip_can_be_applied(self):
        self.apply(endpoint({"vm1-1": 1, "vm2-1": 2}), endpoint(["vm3-1"], port=53, protocol="udp", name="dns"))
        shown = self.lab.anantactl("-o", "json", "vip", "show", self.vip).stdout
        self.lab.anantactl("vip", "delete", self.vip)
        self.lab.apply(shown)
        self.assertEqual(self.lab.ask("vip", "show", self.vip), json.loads(shown))

    def test_the_same_document_may_be_applied_again(self):
        for _ in range(3):
            self.apply(*good(self.vip)["endpoints"])
        self.assert_answers(self.lab.http(self.vip, 30), ["vm1-1", "vm2-1"], 30)

    def test_help_is_there_at_every_level(self):
        for words in ((), ("vip",), ("vip", "apply"), ("mux",), ("host",), ("host", "attach"), ("dip",), ("cluster",)):
            with self.subTest(words):
                done = self.lab.anantactl(*words, "--help")
                self.assertIn("anantactl", done.stdout)
        self.assertIn("vip apply", self.lab.anantactl("help").stdout)
