"""
What a selection by SCOP's statistic and knockoff+ is worth: false discoveries and power, simulated.

    python benchmarks/simulations/fdr.py [--repetitions 200] [--output outputs/fdr.json] [--page docs/fdr.md]

A linear model stands for the network: 64 variables of which 16 matter, weights by least squares, then one scale per
variable that mixes it with its knockoff, fitted by projected gradients from 0.5 with the weights frozen, as SCOP does.
W is `|weight| (2 scale - 1)`. Knockoffs are valid (second-order, which for Gaussian data is all) or independent copies;
the scales are fitted on data that the weights have not seen, or on those that they were fitted on. numpy alone.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from golden_stick.knockoffs.second_order import Moments, SecondOrder  # noqa: E402
from golden_stick.knockoffs.selection import select, select_derandomized  # noqa: E402

VARIABLES, RELEVANT, SAMPLES, AMPLITUDE = 64, 16, 600, 0.25
CORRELATIONS, RATES = (0.0, 0.5, 0.8), (0.1, 0.2)
DRAWS, STEPS = 5, 300
PAGE = """# False discoveries of a selection by knockoffs

Written by `python benchmarks/simulations/fdr.py --repetitions {repetitions}`; its head says what is simulated. FDR:
mean share of irrelevant variables among those selected, with its standard error; power: mean share of the relevant
ones that are selected; P(W < 0): share of irrelevant variables with a negative statistic, which must be 1/2.

| correlation | scales fitted on | knockoffs | P(W < 0) | FDR, q = 0.1 | power | FDR, q = 0.2 | power |
|---|---|---|---|---|---|---|---|
{rows}

* Valid knockoffs and held-out data: the rate holds.
* Data that the weights were fitted on: it is several times q, whatever the knockoffs.
* Independent copies are controls. Where variables are hardly correlated they do as well; where they are, the rate is
  exceeded. Channels of a convolutional network are correlated.
* `{draws} draws`: as many draws of knockoffs made into one selection by e-values, which keeps the rate and does not
  depend on one draw's luck. Each draw is thresholded at q / 2, so that it needs 2 / q variables to select any: with 16
  relevant ones, q = 0.1 selects next to nothing.
"""


def covariance(correlation):
    return correlation ** np.abs(np.subtract.outer(np.arange(VARIABLES), np.arange(VARIABLES)))


def scales(data, knockoffs, target, weights):
    """The scales that minimise the squared error, in [0, 1], by projected gradients from 0.5."""
    mixed = (data - knockoffs) * weights
    rest = target - knockoffs @ weights
    gram, slope = mixed.T @ mixed, mixed.T @ rest
    rate = 1.0 / np.linalg.eigvalsh(gram)[-1]
    found = np.full(len(weights), 0.5)
    for _ in range(STEPS):
        found = np.clip(found - rate * (gram @ found - slope), 0.0, 1.0)
    return found


def statistics(data, knockoffs, target, weights):
    return np.abs(weights) * (2.0 * scales(data, knockoffs, target, weights) - 1.0)


def draw_data(generator, root, effects):
    data = generator.normal(size=(SAMPLES, VARIABLES)) @ root.T
    return data, data @ effects + generator.normal(size=SAMPLES)


def repeat(number, correlation, sampler, root):
    """One repetition: W for every way to fit and to draw, and which variables are relevant."""
    generator = np.random.default_rng([number, int(100 * correlation)])
    relevant = np.zeros(VARIABLES, bool)
    relevant[generator.permutation(VARIABLES)[:RELEVANT]] = True
    effects = relevant * generator.choice((-AMPLITUDE, AMPLITUDE), VARIABLES)
    seen, unseen = (draw_data(generator, root, effects) for _ in range(2))
    weights = np.linalg.lstsq(*seen, rcond=None)[0]
    found = {}
    for where, (data, target) in (("held-out", unseen), ("reused", seen)):
        copies = generator.normal(size=data.shape) @ root.T
        draws = [statistics(data, sampler.draw(data, generator), target, weights)
                 for _ in range(DRAWS if where == "held-out" else 1)]
        found[where, "valid"], found[where, "independent copy"] = draws[:1], [
            statistics(data, copies, target, weights)]
        if len(draws) > 1:
            found[where, f"valid, {DRAWS} draws"] = draws
    return relevant, found


def judge(relevant, draws):
    """Share of negative W among the irrelevant, and per rate the false share and the power."""
    row = [float((draws[0][~relevant] < 0).mean())]
    for rate in RATES:
        chosen = select(draws[0], rate) if len(draws) == 1 else select_derandomized(draws, rate)
        row += [float((chosen & ~relevant).sum() / max(1, chosen.sum())), float(chosen[relevant].mean())]
    return row


def simulate(repetitions):
    """Rows of the table, as plain data."""
    rows = []
    for correlation in CORRELATIONS:
        root = np.linalg.cholesky(covariance(correlation))
        sampler = SecondOrder(Moments(np.zeros(VARIABLES), covariance(correlation), SAMPLES), "mvr")
        found = {}
        for number in range(repetitions):
            relevant, made = repeat(number, correlation, sampler, root)
            for key, draws in made.items():
                found.setdefault(key, []).append(judge(relevant, draws))
        for (where, kind), results in found.items():
            mean, error = np.mean(results, 0), np.std(results, 0, ddof=1) / np.sqrt(repetitions)
            rows.append({"correlation": correlation, "fitted_on": where, "knockoffs": kind,
                         "distance": float(sampler.distances.mean()), "mean": mean.tolist(), "error": error.tolist()})
            print(line(rows[-1]), flush=True)
    return rows


def line(row):
    mean, error = row["mean"], row["error"]
    return (f"| {row['correlation']} | {row['fitted_on']} | {row['knockoffs']} | {mean[0]:.2f} | {mean[1]:.3f} ± "
            f"{error[1]:.3f} | {mean[2]:.2f} | {mean[3]:.3f} ± {error[3]:.3f} | {mean[4]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "fdr.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "fdr.md")
    options = parser.parse_args()
    rows = simulate(options.repetitions)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"repetitions": options.repetitions, "rows": rows}, indent=1))
    options.page.write_text(PAGE.format(repetitions=options.repetitions, draws=DRAWS,
                                        rows="\n".join(line(row) for row in rows)))


if __name__ == "__main__":
    main()
