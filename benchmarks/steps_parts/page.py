"""From the rows of the benchmark of training steps to lines and to docs/steps.md."""
from common import machine_text, table, verdict_table
from deployment_parts.page import foreign, median, milliseconds, quartiles, ratio, why_not
from sides.client import GS

from golden_stick.bench.clock import is_quiet
from steps_parts.tables import MIXINGS, OURS, THEIRS

# What issue 5 asks for.
KNOCKOFF, OVER_MACS = 1.25, 0.1
NAMES = {"plain": "plain", "knockoff": "knockoff, by blocks (default)", "knockoff, joint": "knockoff, joint",
         "masked": "masked", "slim": "slim", "twin": "native twin"}


def macs_left(row):
    return row["macs"]["slim"] / row["macs"]["original"]


def over_plain(row, step, clock):
    """A step over the plain one of the same library: median and quartiles of the ratios within the rounds."""
    owner = f"{GS}, " if step.startswith(GS) else ""
    return ratio(row, step, f"{owner}plain", clock)


def verdicts(row):
    """What was asked for, and whether it was reached: (claim, figure, yes or no). All in CPU time."""
    name = row["settings"]["network"]
    for step in MIXINGS:
        found = over_plain(row, step, "cpu_seconds")[0]
        yield f"{name}: {NAMES[step]}: at most {KNOCKOFF} of the plain step", f"{found:.2f}", found <= KNOCKOFF
    found, allowed = over_plain(row, "slim", "cpu_seconds")[0], macs_left(row) + OVER_MACS
    yield (f"{name}: slim: at most the MACs ratio + {OVER_MACS} ({allowed:.2f}) of the plain step", f"{found:.2f}",
           found <= allowed)


def line(row, label, step):
    cells = [label]
    for clock in ("seconds", "cpu_seconds"):
        low, high = quartiles(row, step, clock)
        cells.append(f"{milliseconds(median(row, step, clock))} [{milliseconds(low)}, {milliseconds(high)}]")
    for clock in ("cpu_seconds", "seconds"):
        cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*over_plain(row, step, clock)))
    return cells


def lines(row):
    """The steps of one network, each a list of cells."""
    yield from (line(row, NAMES[step], step) for step in OURS)
    for step in THEIRS:
        label, reason = f"{GS}: {step}", why_not(row)
        yield [label, reason, "-", "-", "-"] if reason else line(row, label, f"{GS}, {step}")


def heading(row):
    settings = row["settings"]
    return f"{settings['network']}, {settings['batch']} images of {settings['size']} x {settings['size']}"


def row_text(row):
    """A row for the terminal."""
    parts = [f"{label} {wall}" if over == "-" else f"{label} {wall} ms, CPU {cpu}, of plain {over}"
             for label, wall, cpu, over, _ in lines(row)]
    return f"{heading(row)}, MACs left {macs_left(row):.2f}\n  " + "\n  ".join(parts)


def section(row):
    busy = foreign(row)
    twin = ratio(row, "slim", "twin", "cpu_seconds")
    return [f"## {heading(row)}", "",
            table(["step", "wall ms", "CPU ms", "CPU / plain", "wall / plain"], list(lines(row))), "",
            f"MACs ratio (slim over original): {macs_left(row):.2f}. Slim step over its native twin's, CPU: "
            "{:.3f} [{:.3f}, {:.3f}]. ".format(*twin) +
            f"{len(row['seconds']['plain'])} rounds; processors that other processes kept busy meanwhile: "
            f"{'not known' if busy is None else f'{busy:.2f}'}.", ""]


def page(rows, rate):
    """The text of docs/steps.md."""
    noisy = [row for row in rows if not is_quiet(foreign(row))]
    machine = {**rows[0]["machine"], **rows[0].get("gs", {}).get("versions", {})}
    parts = ["# What a training step costs", "",
             f"Written by `python benchmarks/steps.py`. {machine_text(machine)}.", "",
             f"The steps of a SCOP pruning beside a plain training step: those of the knockoff phase, in which only "
             f"the scales are trained; of the masked network; of the slim one, pruned by {rate:.0%} by the l1 norm; "
             f"and of its *native twin*, built by hand at the slim widths. {GS}'s stand over its own plain step, of "
             f"the same network under the names that it wants. All run in turn in one run: each once a round, after "
             f"one call that does not count. GRAPH mode, Momentum, float32, random weights and data. Medians, with "
             f"quartiles in brackets; ratios are medians of the ratios within the rounds. CPU time is of all threads.",
             "",
             f"A knockoff step of ours is given the batch and ends with `after_step`. {GS}'s is given the batch "
             f"doubled, as its callback would: that one permutes with an operator that has no CPU kernel, so permuting "
             f"is not timed there.", ""]
    if noisy:
        parts += [f"**The machine was not quiet** for {len(noisy)} of {len(rows)} networks: do not quote them.", ""]
    for row in rows:
        parts += section(row)
    parts += ["## What was asked for", "", "In CPU time:", "",
              verdict_table(verdict for row in rows for verdict in verdicts(row))]
    return "\n".join(parts).rstrip() + "\n"
