"""Wrong answers to assignment 6: what replaces which cell, the points, and words of a reason.

The student of these tests has a paper with the flaws a, b, e, f, i and k.
"""

from __future__ import annotations

TYPED = """
rows = [line.split("|") for line in paper.text.splitlines() if line.startswith("| ")]
reproduced = [float(row[2]) for row in rows[1:3]]
methods = paper.text.split("**2.")[1].split("**3.")[0]
used = [book["step_sizes"].tolist().index(float(a)) for a in re.findall(r"0\\.\\d+", methods)[:2]]
seeds = [int(seed) for seed in re.findall(r"seed (\\d)", methods)]
"""
FAIR = """
new = ~np.isin(book["test_id"], book["train_id"])
asked, fair = ~given[new], {}
for who, seed in zip(("ours", "reference"), SEEDS):
    error = errors(who, STEP)[seed].mean(axis=0)[new]
    fair[who] = np.array([e[a].mean() for e, a in zip(error, asked)])
corrected = [fair["ours"].mean(), fair["reference"].mean()]
"""
BY_VALIDATION = 'book[f"validation_{who}"].argmin()'
ONE_SEED = FAIR.replace("SEEDS", "[[seed] for seed in seeds]").replace("STEP", BY_VALIDATION)
BY_TEST = FAIR.replace("SEEDS", "[slice(None)] * 2").replace(
    "STEP", 'used[0] if who == "ours" else book["validation_reference"].argmin()'
)
FAHRENHEIT = """
new = ~np.isin(book["test_id"], book["train_id"])
asked, fair = ~given[new], {}
for who, unit in (("ours", 1), ("reference", 1.8)):
    error = unit * errors(who, book[f"validation_{who}"].argmin()).mean(axis=0)[new]
    fair[who] = np.array([e[a].mean() for e, a in zip(error, asked)])
corrected = [fair["ours"].mean(), fair["reference"].mean()]
"""
OVER_READINGS = """
ours, reference = (
    errors(who, book[f"validation_{who}"].argmin()).mean(axis=0)[new][asked]
    for who in ("ours", "reference")
)
difference = reference - ours
half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
lead = [difference.mean() - half, difference.mean() + half]
"""
UNPAIRED = """
difference = fair["reference"] - fair["ours"]
variance = fair["reference"].var(ddof=1) + fair["ours"].var(ddof=1)
half = 1.96 * np.sqrt(variance / len(difference))
lead = [difference.mean() - half, difference.mean() + half]
"""
ALL_READINGS = """
off = []
for readings, support in zip(T[new], given[new]):
    t, excess = book["times"], readings - book["room"]
    slope, start = np.polyfit(t, np.log(excess), 1)
    off.append(np.abs(np.exp(start + slope * t) - excess)[~support].mean())
newton = np.mean(off)
"""
TEST_MEAN = """
off = np.abs(T.mean(axis=0) - T[new])
mean_curve = np.mean([e[a].mean() for e, a in zip(off, asked)])
"""
PERCENT = """
inside = np.abs(book["centre"] - T) <= book["half"]
coverage = 100 * inside[new][asked].mean()
"""

WRONG = {
    "the table's own numbers": ({"reproduced": TYPED}, 12 - 2, "rounded numbers of the table"),
    "one seed": ({"corrected": ONE_SEED}, 12 - 1 - 2, "one seed is still shown"),
    "chosen on test": ({"corrected": BY_TEST}, 12 - 1 - 2, "served best on the test bodies"),
    "degrees of Fahrenheit": ({"corrected": FAHRENHEIT}, 12 - 1 - 2, "Fahrenheit"),
    "readings counted": ({"lead": OVER_READINGS}, 12 - 1.5, "count bodies"),
    "unpaired": ({"lead": UNPAIRED}, 12 - 1, "body by body"),
    "fitted to all readings": ({"newton": ALL_READINGS}, 12 - 1, "all readings"),
    "mean of the test bodies": ({"mean_curve": TEST_MEAN}, 12 - 0.5, "mean of the test bodies"),
    "percent": ({"coverage": PERCENT}, 12 - 0.5 - 0.5, "in percent"),  # flaw k goes with it
    "all flaws named": (
        {"flaws": 'flaws = list("abcdefghijk")'},
        12 - 2.5,
        "6 of 6 found, 5 named",
    ),
    "half of them": ({"flaws": 'flaws = ["a", "b", "e"]'}, 12 - 1.5, "3 of 6 found, 0 named"),
}
