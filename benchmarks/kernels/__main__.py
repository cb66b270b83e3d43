"""`python -m benchmarks.kernels [--aot]`."""

import json
import sys

from benchmarks.kernels import run

tree = run(aot="--aot" in sys.argv)
del tree["tables"]  # for people
sys.stdout.write(json.dumps(tree, indent=1) + "\n")
