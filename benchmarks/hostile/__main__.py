"""`python -m benchmarks.hostile [--mutants 1000] [--seed 0]`: prints JSON; ends with 1 where anything crashed, hung, was reached, or ended otherwise than it may."""

import argparse
import json
import sys

from benchmarks.hostile.run import KINDS, run


def main() -> None:
    """Run and print."""
    words = argparse.ArgumentParser(prog="benchmarks.hostile")
    words.add_argument("--mutants", type=int, default=1000, help="mutants of each kind: portraits, videos, recordings, voices' networks and their descriptions")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--every", type=int, default=1, help="every so manieth case of the corpus; 0 is none")
    words.add_argument("--minutes", type=float, default=1e6, help="stop after so long, and print what was done until then")
    words.add_argument("--of", default=" ".join(KINDS), help="which kinds, separated by spaces")
    asked = words.parse_args()
    found = run(asked.mutants, asked.seed, asked.every, asked.minutes, asked.of.split())
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=True) + "\n")
    sys.exit(any(found["figures"][name] for name in ("crashes", "hangs", "outbound_requests", "reads_outside", "executions", "wrong")))


if __name__ == "__main__":
    main()
