"""Writes docs/options.md from the tables by which configurations are checked.   python scripts/write_options.py"""
from pathlib import Path

import golden_stick as gs

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"

TEXT = """# Options

Of `gs.OneShot(config)`, `gs.SCOP(config)` and `gs.Unstructured(config)`, and of `golden-stick prune`, `convert` and
`compare` with dashes: `"prune_rate"` is `--prune-rate`. Written by `python scripts/write_options.py` from the tables by
which configurations are checked. A key that does not exist is an error that names the nearest one.

{tables}

## Which budget

One of `prune_rate`, `target_macs`, `target_params`, `target_latency` and `max_drop`. A rate of 0.4 takes 40 % of the
channels on both sides of a layer, so that 0.36 of its weights and MACs are left. A target is reached by the least
rate that meets it; one below what the network can reach is refused, with the range that is not. The report says
whether a rate was reached, and what held layers back. With `max_drop`, the accuracy says how much goes:
[accuracy.md](accuracy.md).

## Data

The criteria `taylor` and `hessian` need labels, `activation` and `reconstruction` do not: `apply(net, inputs,
data=batches, loss=loss)`.
`convert(network, calibration_data=batches)` recovers on unlabelled batches: [accuracy.md](accuracy.md).
"""


def render() -> str:
    """The page."""
    common = [key for key in gs.OneShot.options if gs.SCOP.options.get(key) is gs.OneShot.options[key]]
    parts = (("Of `OneShot` and `SCOP`", gs.OneShot, common),
             ("Of `OneShot`", gs.OneShot, [key for key in gs.OneShot.options if key not in common]),
             ("Of `SCOP`", gs.SCOP, [key for key in gs.SCOP.options if key not in common]),
             ("Of `Unstructured`", gs.Unstructured, list(gs.Unstructured.options)))
    return TEXT.format(tables="\n\n".join(f"## {title}\n\n{table(kind.options, keys)}" for title, kind, keys in parts))


def table(options, keys) -> str:
    """One row a key."""
    told = [(f"`{key}`", option.constraint, "" if option.default is None else repr(option.default), option.help)
            for key, option in options.items() if key in keys]
    rows = [f"| {' | '.join(map(str, row))} |" for row in told]
    return "\n".join(["| key | value | default | what it is |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
