"""The page that benchmarks/planted_redundancy.py writes."""
from typing import Any, Dict, List, Tuple

import numpy as np

from planted.measure import EPS, FDR, RATES
from planted.network import KINDS

__all__ = ["page", "verdicts"]

# Criterion, what is looked at, least and most: what the mean over the seeds must lie between.
THRESHOLDS = (
    ("scop, permutation", "dead", 0.99, 1.0), ("scop, permutation", "irrelevant", 0.97, 1.0),
    ("scop, permutation", "weak", 0.88, 1.0), ("taylor", "dead", 0.99, 1.0), ("taylor", "irrelevant", 0.99, 1.0),
    ("taylor", "weak", 0.99, 1.0), ("random", "dead", 0.4, 0.6), ("random", "irrelevant", 0.4, 0.6),
    ("random", "weak", 0.4, 0.6),
)
TEXT = """# Planted redundancy

Written by `python benchmarks/planted_redundancy.py`, whose head says what is planted and how images are split. {seeds}
seeds, {images} training images, {epochs} epochs, {steps} steps of each knockoff phase; {data}. Base accuracy {base},
planted {planted}. CPU; nothing here is a time.

## Which filters are found

AUROC: how often a planted filter scores below an original one of its layer. 1 is always, 0.5 is what chance does, less
means that originals go first. Mean and standard deviation over the seeds.

| criterion | dead | irrelevant | weak | duplicate |
|---|---|---|---|---|
{found}

Duplicates are the blind spot of every criterion that looks at one filter at a time: each of a pair matters as long as
nobody knows of the other. Magnitudes are misled on purpose here: random filters have the norms of trained ones.

## What pruning by them costs

Accuracy of the pruned network without fine-tuning, before and after statistics of the normalizations were re-estimated.

| criterion | {rates} |
|---|{rules}|
{costs}

## Rules that decide by themselves

| rule | filters removed | of {of} planted | originals | originals with a duplicate | accuracy |
|---|---|---|---|---|---|
{rules_found}

`knockoff+`: `"prune_rate": "auto", "fdr": {fdr}` of SCOP. `certified`: `gs.safe_filters` with eps {eps} on held-out
images: filters whose removal, alone, raises the loss by less than that. Some original filters are such, and either of a
pair of duplicates is; all together need not be: hence the originals, and the accuracy.

## Thresholds

{verdicts}
"""


def verdicts(rows: List[Dict[str, Any]]) -> List[Tuple[str, bool]]:
    """Each threshold as a sentence, and whether it held."""
    said = []
    for criterion, kind, least, most in THRESHOLDS:
        values = [row["criteria"][criterion][kind] for row in rows if criterion in row["criteria"]]
        if values:
            mean = float(np.mean(values))
            said.append((f"{criterion}: {kind} {mean:.3f} in [{least:g}, {most:g}]", least <= mean <= most))
    for rule in ("knockoff+", "certified"):
        originals = [row[rule]["originals"] + row[rule]["copied"] for row in rows if rule in row]
        said.append((f"{rule}: {sum(originals)} original filters removed, of all seeds", sum(originals) == 0))
    harmful = sum(row["certified"]["harmful"] for row in rows)
    said.append((f"certified: {harmful} filters found safe whose loss on the test images rises by {EPS} or more",
                 harmful == 0))
    return said


def page(rows: List[Dict[str, Any]], options: Any) -> str:
    """The page, as Markdown."""
    names = list(rows[0]["criteria"])
    found = [f"| {name} | " + " | ".join(_spread([row["criteria"][name][kind] for row in rows]) for kind in KINDS)
             + " |" for name in names]
    costs = [f"| {name} | " + " | ".join(
        f"{_mean(rows, name, 'one_shot', place)} / {_mean(rows, name, 'calibrated', place)}"
        for place in range(len(RATES))) + " |" for name in names]
    decided = [_decided(rule, [row[rule] for row in rows]) for rule in ("knockoff+", "certified") if rule in rows[0]]
    return TEXT.format(
        seeds=len(rows), images=options.images, epochs=options.epochs, steps=options.steps,
        data="JPEG photographs of CIFAR-10 at 16 x 16 pixels" if options.data else "textures",
        base=_spread([row["accuracy"] for row in rows]), planted=_spread([row["accuracy_planted"] for row in rows]),
        found="\n".join(found), costs="\n".join(costs), rates=" | ".join(f"{rate:.0%} removed" for rate in RATES),
        rules="|".join(["---"] * len(RATES)), of=rows[0]["certified"]["of"], fdr=FDR, eps=EPS,
        rules_found="\n".join(decided),
        verdicts="\n".join(f"* {'held' if held else 'MISSED'}: {text}" for text, held in verdicts(rows)))


def _decided(rule: str, found: List[Dict[str, Any]]) -> str:
    cells = [f"{np.mean([item[key] for item in found]):.1f}" for key in ("removed", "planted", "originals", "copied")]
    return f"| {rule} | {' | '.join(cells)} | {_spread([item['accuracy'] for item in found])} |"


def _mean(rows: List[Dict[str, Any]], name: str, key: str, place: int) -> str:
    return f"{np.mean([row['criteria'][name][key][place] for row in rows]):.3f}"


def _spread(values: List[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"
