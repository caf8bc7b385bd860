"""What ``%load_ext claude_force_nb`` costs: CPU seconds over the same IPython shell without it.

Run ``python benchmarks/load.py``. Each round starts both processes in turn; printed are the
medians and their difference, and which heavy modules are loaded afterwards.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import List, Tuple

SHELL = """
import resource, sys
from ipykernel.zmqshell import ZMQInteractiveShell
shell = ZMQInteractiveShell.instance()
{load}
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = {{"anthropic", "ipywidgets", "tenacity", "markdown_it", "nh3", "yaml", "pandas"}}
print(used.ru_utime + used.ru_stime, ",".join(sorted(heavy & set(sys.modules))) or "none")
"""
LOAD = "shell.run_line_magic('load_ext', 'claude_force_nb')"
TARGET_S = 0.3


def measure(load: str) -> Tuple[float, str]:
    """CPU seconds of one process, and the heavy modules it ended with."""
    done = subprocess.run(
        [sys.executable, "-c", SHELL.format(load=load)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, _, heavy = done.stdout.strip().partition(" ")
    return float(seconds), heavy


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    bare: List[float] = []
    loaded: List[float] = []
    heavy = ""
    measure(LOAD)  # the first run writes byte code
    for _ in range(rounds):
        bare.append(measure("")[0])
        seconds, heavy = measure(LOAD)
        loaded.append(seconds)
    extra = statistics.median(a - b for a, b in zip(loaded, bare))
    print(f"shell alone            {statistics.median(bare):.3f} s CPU")
    print(f"shell and extension    {statistics.median(loaded):.3f} s CPU")
    print(f"the extension          {extra:.3f} s CPU   (target: below {TARGET_S})")
    print(f"heavy modules loaded   {heavy}")
    return 0 if extra < TARGET_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
