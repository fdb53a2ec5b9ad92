"""
What the steps of a pruning cost: knockoff, masked and slim, beside a plain training step and mindspore-gs's.

    python benchmarks/steps.py --gs-python PATH        everything; writes docs/steps.md: about half an hour
    python benchmarks/steps.py --networks resnet20 --rounds 5 --page outputs/steps.md

All steps of a network run in turn in one run; wall and CPU time. `--gs-python` is the Python of an environment with
mindspore-gs (see benchmarks/sides/README.md); without it those lines stay empty. Run it on a quiet machine: what other
processes used of it stands below every table.
"""
from common import command_line, write_json, write_page
from steps_parts.measure import measure
from steps_parts.page import page, row_text
from steps_parts.tables import DEFAULT, NETWORKS

RATE = 0.45


def main() -> None:
    parser = command_line(__doc__, "outputs/steps.json", "docs/steps.md")
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(DEFAULT))
    parser.add_argument("--gs-python", help="Python of an environment with mindspore-gs")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    rows = []
    for name in options.networks:
        batch, size = NETWORKS[name]
        settings = {"network": name, "batch": batch, "size": size, "rounds": options.rounds}
        rows.append(measure(settings, RATE, options.gs_python))
        write_json(options.output, rows)
        print(row_text(rows[-1]), flush=True)
    write_page(options.page, page(rows, RATE))


if __name__ == "__main__":
    main()
