"""
How often certificates are wrong, and how often they are given: simulated, by the code that makes them.

    python benchmarks/simulations/certificate.py [--runs 500] [--output docs/certificates.md] [--json FILE]

Writes the numbers, as JSON, and puts them into the page between its two marks. Under two minutes of CPU time.
"""
import argparse
import json
import math
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import stats

from golden_stick.certify import PairedCounts, certify_in_sequence, compare_predictions, drop_p_value
from golden_stick.certify.prior_use import overlaps

ROOT = Path(__file__).resolve().parents[2]
BOUND, CONFIDENCE = 0.01, 0.9
ERROR = 1 - CONFIDENCE
BOUNDARY = ((500, 0.02), (500, 0.1), (1000, 0.05), (2000, 0.05), (2000, 0.2), (5000, 0.05))
POWER_IMAGES, POWER_DISCORDANCE = (1000, 2000, 5000), 0.05
SIZES = (1000, 2000, 5000, 10000)
POWER_DROPS = (-0.005, 0.0, 0.0025, 0.005, 0.0075, 0.01)
MARKS = ("<!-- simulated: begin -->", "<!-- simulated: end -->")


@lru_cache(maxsize=None)
def critical(images, discordant):
    """The most lost images, of so many discordant ones, that are certified; -1 if none. The p-value rises with lost."""
    def certified(lost):
        return drop_p_value(lost, discordant - lost, images, BOUND, ERROR / 100) <= ERROR

    # What the normal approximation says is off by one or two at most; then step to where the answer changes.
    guess = (discordant + images * BOUND - 1.2816 * math.sqrt(max(discordant, images * BOUND))) / 2
    lost = min(max(int(guess), -1), discordant)
    while lost >= 0 and not certified(lost):
        lost -= 1
    while lost < discordant and certified(lost + 1):
        lost += 1
    return lost


def draw(generator, runs, images, discordance, drop):
    """Numbers of lost and gained images of many runs."""
    rates = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    counts = generator.multinomial(images, rates, runs)
    return counts[:, 0], counts[:, 1]


def share(flags):
    """A share and its standard error."""
    rate = float(np.mean(flags))
    return {"share": rate, "error": math.sqrt(rate * (1 - rate) / len(flags))}


def at_the_boundary(generator, runs):
    """How often a drop of exactly the bound is certified; a few runs also through arrays of predictions."""
    rows = []
    for images, discordance in BOUNDARY:
        lost, gained = draw(generator, runs, images, discordance, BOUND)
        wrong = np.array([one <= critical(images, one + other) for one, other in zip(lost.tolist(), gained.tolist())])
        for run in range(0, runs, max(1, runs // 10)):
            assert through_predictions(generator, images, lost[run], gained[run]) == wrong[run]
        rows.append({"images": images, "discordance": discordance, "runs": runs, **share(wrong),
                     "exact": exact_power(images, discordance, BOUND)})
    return rows


def through_predictions(generator, images, lost, gained):
    """The whole way from right and wrong answers to the verdict."""
    kinds = generator.permutation(np.repeat([0, 1, 2], [lost, gained, images - lost - gained]))
    base = (kinds == 0) | ((kinds == 2) & (generator.random(images) < 0.9))
    candidate = np.where(kinds == 2, base, ~base)
    found = compare_predictions(base, candidate)
    assert (found.lost, found.gained) == (lost, gained)
    return certify_in_sequence([found], BOUND, CONFIDENCE)[0].certified


def in_sequence(generator, runs, images=1000, discordance=0.05):
    """Three candidates, the second and third exactly at the bound: how often any of these two is certified."""
    wrong = []
    for _ in range(runs):
        items = [PairedCounts(*(int(part[0]) for part in draw(generator, 1, images, discordance, drop)), images)
                 for drop in (0.0, BOUND, BOUND)]
        passed = [item.lost <= critical(images, item.lost + item.gained) for item in items]
        wrong.append(passed[0] and passed[1])
    return {"images": images, "discordance": discordance, "runs": runs, **share(wrong)}


def exact_power(images, discordance, drop):
    """The probability that a drop is certified, summed over the outcomes (all but 1e-5 of their probability)."""
    spread = 4.5 * math.sqrt(images * discordance) + 5
    found, share_lost = 0.0, (discordance + drop) / (2 * discordance)
    for discordant in range(max(0, int(images * discordance - spread)), int(images * discordance + spread) + 1):
        weight = stats.binom.pmf(discordant, images, discordance)
        found += weight * stats.binom.cdf(critical(images, discordant), discordant, share_lost)
    return float(found)


def hoeffding_bentkus(lost, gained, images):
    """P-values by the bound of Bates et al., J. ACM 2021, for (1 + D) / 2 in [0, 1]."""
    mean, null = (1 + (lost - gained) / images) / 2, (1 + BOUND) / 2
    low = np.minimum(mean, null)
    entropy = low * np.log(low / null) + (1 - low) * np.log((1 - low) / (1 - null))
    bentkus = math.e * stats.binom.cdf(np.ceil(images * mean), images, null)
    return np.minimum(1, np.minimum(np.exp(-images * entropy), bentkus))


def betting(generator, runs, images, discordance, drop):
    """Certified by Waudby-Smith and Ramdas' capital process, J. R. Stat. Soc. B 2024, with their plug-in bets."""
    values = generator.choice([1.0, -1.0, 0.0], (images, runs),
                              p=[(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance])
    count = np.arange(1, images + 1)[:, None]
    mean = (np.cumsum(values, 0)) / (count + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2, 0)) / (count + 1)
    before = np.concatenate([np.full((1, runs), 0.25), variance[:-1]])
    bets = np.minimum(0.75 / (1 - BOUND), np.sqrt(2 * math.log(1 / ERROR) / (before * images)))
    return np.cumsum(np.log1p(bets * (BOUND - values)), 0).max(0) >= math.log(1 / ERROR)


def power(generator, runs):
    """Chances of a certificate: exact ones of our test, simulated ones of two bounds that hold for any numbers."""
    rows = []
    for images in POWER_IMAGES:
        for drop in POWER_DROPS:
            lost, gained = draw(generator, runs, images, POWER_DISCORDANCE, drop)
            rows.append({"images": images, "drop": drop, "exact_test": exact_power(images, POWER_DISCORDANCE, drop),
                         "betting": share(betting(generator, runs, images, POWER_DISCORDANCE, drop)),
                         "hoeffding_bentkus": share(hoeffding_bentkus(lost, gained, images) <= ERROR)})
    return rows


def largest_certified(images):
    """The largest observed drop, in points, that is certified at the discordance of the power table."""
    discordant = round(images * POWER_DISCORDANCE)
    return max(100 * (2 * critical(images, count) - count) / images for count in (discordant, discordant + 1))


def normal_limit(images):
    """The same drop, as a fraction, by the normal approximation: the bound less 1.2816 standard errors."""
    return BOUND - 1.2816 * math.sqrt((POWER_DISCORDANCE - BOUND ** 2) / images)


def used_data(generator, runs):
    """Data sets that share 0 to 3 images with earlier ones: how often that is missed, or seen where it is not."""
    missed, invented = 0, 0
    for _ in range(runs):
        shared = int(generator.integers(0, 4))
        names = [f"{number:016x}" for number in generator.integers(0, 2**62, 400)]
        old, new = names[:200], names[200 - shared:400 - shared]
        seen = overlaps(new, [(frozenset(old), "something")])
        missed += bool(shared) and not seen
        invented += not shared and bool(seen)
    return {"runs": runs, "missed": missed, "invented": invented}


def page(record):
    """The tables, in Markdown."""
    lines = [f"Bound {100 * BOUND:g} point, confidence {CONFIDENCE:.0%}, {record['runs']} runs a row, seed "
             f"{record['seed']}. An error bar is one standard error.", "",
             "Wrong certificates, where the true drop is exactly the bound (the worst case); at most 0.1 is promised:",
             "", "| images | discordant | certified, simulated | certified, exact |", "|---|---|---|---|"]
    lines += [f"| {row['images']:,} | {row['discordance']:.0%} | {row['share']:.3f} ± {row['error']:.3f} | "
              f"{row['exact']:.4f} |" for row in record["boundary"]]
    row = record["sequence"]
    lines += [f"| {row['images']:,}, three candidates, two of them at the bound | {row['discordance']:.0%} | "
              f"{row['share']:.3f} ± {row['error']:.3f} | |", "",
              f"Chances of a certificate at {POWER_DISCORDANCE:.0%} discordance, by the true drop in points:", "",
              "| images | test | " + " | ".join(f"{100 * drop:g}" for drop in POWER_DROPS) + " |",
              "|---|---|" + "---|" * len(POWER_DROPS)]
    for images in POWER_IMAGES:
        rows = [row for row in record["power"] if row["images"] == images]
        for name, values in (("exact (ours)", [row["exact_test"] for row in rows]),
                             ("betting", [row["betting"]["share"] for row in rows]),
                             ("Hoeffding-Bentkus", [row["hoeffding_bentkus"]["share"] for row in rows])):
            lines.append(f"| {images:,} | {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    lines += ["", f"Largest observed drop that is certified at {POWER_DISCORDANCE:.0%} discordance, in points: " +
              ", ".join(f"{value:.2f} for {int(images):,} images"
                        for images, value in record["largest_certified"].items()) +
              ". The normal approximation says " +
              ", ".join(f"{100 * normal_limit(int(images)):.2f}" for images in record["largest_certified"]) + ".", "",
              f"Data that share 0 to 3 of 200 images with earlier data, {record['used_data']['runs']} times: overlap "
              f"missed {record['used_data']['missed']} times, seen where there is none "
              f"{record['used_data']['invented']} times."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="simulated runs (default: 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default=ROOT / "docs" / "certificates.md", type=Path, help="page to fill in")
    parser.add_argument("--json", default=ROOT / "benchmarks" / "simulations" / "certificate.json", type=Path)
    options = parser.parse_args()
    generator, begin = np.random.default_rng(options.seed), time.process_time()
    record = {"command": "python benchmarks/simulations/certificate.py", "bound": BOUND, "confidence": CONFIDENCE,
              "runs": options.runs, "seed": options.seed}
    for name, work in (("boundary", at_the_boundary), ("sequence", in_sequence), ("power", power),
                       ("used_data", used_data)):
        record[name] = work(generator, options.runs)
        print(f"{name}: done after {time.process_time() - begin:.0f} s of CPU time", flush=True)
    record["largest_certified"] = {str(images): largest_certified(images) for images in SIZES}
    text = options.output.read_text(encoding="utf-8")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    options.output.write_text(f"{before}{MARKS[0]}\n{page(record)}\n{MARKS[1]}{after}", encoding="utf-8")
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    main()
