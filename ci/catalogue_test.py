"""What `catalogue.py --check` finds: a page that says something else than the rows and the results.

Usage: python3 ci/catalogue_test.py
"""

import unittest

import catalogue

ROWS = [
    {"id": "A1", "trigger": "it exits", "invariants": ["I1"], "answer": "502", "proof": ["a_test", "a/scenario"]},
    {"id": "A2", "trigger": "it hangs", "invariants": ["I2"], "answer": "504", "proof": ["a_test"]},
    {"id": "B1", "trigger": "nobody can say", "impossible": "there is none"},
]
AT = {"fault": "", "commit": "abc", "kernel": "6.1", "processors": 2}
RESULTS = {"a_test": AT, "a/scenario": AT}
PAGE = catalogue.page(ROWS, RESULTS)


class Behind(unittest.TestCase):
    def test_a_page_of_these_rows_and_results_is_not_behind(self):
        self.assertEqual(catalogue.behind(ROWS, RESULTS, PAGE), [])

    def test_a_proof_without_a_result_is_named_with_its_row(self):
        results = {"a_test": AT}
        page = catalogue.page(ROWS, results)
        self.assertEqual(catalogue.behind(ROWS, results, page), ["A1: `a/scenario` has no result"])
        results = {"a/scenario": AT}
        page = catalogue.page(ROWS, results)
        self.assertEqual(catalogue.behind(ROWS, results, page), ["A1: `a_test` has no result"])

    def test_a_result_that_no_row_names_is_told(self):
        results = {**RESULTS, "gone": AT}
        self.assertEqual(
            catalogue.behind(ROWS, results, catalogue.page(ROWS, results)),
            ["`gone` has a result, and no row names it"],
        )

    def test_a_row_that_changed_is_told_and_no_other(self):
        for change in ({"trigger": "it hangs for ever"}, {"answer": "500"}, {"invariants": ["I1"]}, {"proof": ["a/scenario"]}):
            rows = [ROWS[0], {**ROWS[1], **change}, ROWS[2]]
            self.assertEqual(
                catalogue.behind(rows, RESULTS, PAGE),
                ["A2 says something else than the catalogue and the results, or is missing"],
            )

    def test_a_row_that_is_not_on_the_page_and_one_that_is_too_much_are_told(self):
        page = "".join(line for line in PAGE.splitlines(keepends=True) if not line.startswith("| A2 "))
        self.assertIn("A2 says something", catalogue.behind(ROWS, RESULTS, page)[0])
        self.assertIn("B1 is no row of the catalogue", catalogue.behind(ROWS[:2], RESULTS, PAGE))

    def test_a_result_that_was_found_later_is_told(self):
        results = {**RESULTS, "a/scenario": {**AT, "fault": "it ended with exit 1"}}
        self.assertEqual(
            catalogue.behind(ROWS, results, PAGE),
            [
                "A1 says something else than the catalogue and the results, or is missing",
                "what stands around the rows is not what the results make",
            ],
        )

    def test_a_missing_page_is_behind(self):
        self.assertEqual(len(catalogue.behind(ROWS, RESULTS, "")), len(ROWS) + 1)


if __name__ == "__main__":
    unittest.main()
