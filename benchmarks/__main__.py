"""Run the benchmarks that compare with nnU-Net, one after the other: `python benchmarks`.

The comparison of learning curves takes hours and is started by hand: `convergence.py`.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "planning", "fingerprint", "preprocessing", "resampling", "networks", "training", "loading",
    "prediction", "export", "evaluation",
)  # fmt: skip


def main() -> None:
    for name in BENCHMARKS:
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)


if __name__ == "__main__":
    main()
