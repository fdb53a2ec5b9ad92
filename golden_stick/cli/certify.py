"""``golden-stick certify``: which slim file loses less accuracy than a bound, with a confidence."""
import argparse
from typing import Any

from golden_stick.cli.options import add_network_command, say

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_network_command(commands, "certify", _run, "certify that slim files lose less accuracy than a bound",
                                  """
Compare slim files with the network that they came from, on labelled images that nothing has used before, and certify
the smallest whose accuracy drop is below a bound, with a confidence. Candidates are tested from the largest to the
smallest, up to the first that fails. Writes the certificate as JSON, as a page beside it, and a ledger of the images,
which can not certify twice. docs/certificates.md says what is guaranteed.
""", """
golden-stick certify --network resnet.py:resnet20 --checkpoint trained.ckpt --candidate slim30.ckpt \\
    --candidate slim50.ckpt --data images.py:held_out --used images.py:training --output certificate.json
""")
    command.add_argument("--checkpoint", required=True, help="checkpoint of the original network")
    command.add_argument("--candidate", required=True, action="append", help="a slim file; repeat for several")
    command.add_argument("--data", required=True, help="package.module:factory or path/to/file.py:factory of a data "
                         "set of images and labels, batched")
    command.add_argument("--used", action="append", default=[], help="what was trained on: a factory as for --data, or "
                         "a .json file of fingerprints; repeat for several")
    command.add_argument("--max-drop", type=float, default=0.01, help="bound on the drop, as a fraction of all images "
                         "(default: 0.01)")
    command.add_argument("--confidence", type=float, default=0.9, help="in (0, 1) (default: 0.9)")
    command.add_argument("--in-given-order", action="store_true", help="test the candidates in the order given")
    command.add_argument("--reuse", default="refuse", help="refuse or declare: what becomes of images that were used "
                         "before (default: refuse)")
    command.add_argument("--ledger", help="ledger of used images (default: golden_stick_ledger.json beside the output)")
    command.add_argument("--date", help="what to write down as the date (default: now)")
    command.add_argument("--output", required=True, help="where to write the certificate")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import certify, load_slim
    from golden_stick.cli.networks import build_network, call_factory, load_weights
    base = build_network(options.network, options.kwargs)
    say(f"built {type(base).__name__} by {options.network}")
    candidates = {path: load_slim(base, path) for path in dict.fromkeys(options.candidate)}
    load_weights(base, options.checkpoint)
    used = [item if item.endswith(".json") else call_factory(item, option="--used") for item in options.used]
    certificate = certify(base, candidates, call_factory(options.data, option="--data"), options.max_drop,
                          options.confidence, order=list(candidates) if options.in_given_order else None, used=used,
                          reuse=options.reuse, path=options.output, ledger=options.ledger, date=options.date)
    say(str(certificate))
    say(f"wrote {options.output.removesuffix('.json')}.json and .md")
