"""Run every benchmark of this folder, one after the other: `python benchmarks`."""

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(FOLDER))
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in ("__main__", "side_by_side"):
            print(f"\n{path.name}", flush=True)
            runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    main()
