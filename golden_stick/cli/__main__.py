"""``python -m golden_stick.cli``."""
import sys

from golden_stick.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
