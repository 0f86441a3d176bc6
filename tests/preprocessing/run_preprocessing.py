"""A run in a process of its own, for tests that interrupt it: dataset, store, workers."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from resenc_plans import Dataset
from resenc_plans.preprocessing import Preprocessor
from tests.preprocessing.datasets import plan


def main() -> None:
    dataset, store, workers = sys.argv[1:]
    plans = plan()
    preprocessor = Preprocessor(plans.resolve("3d_fullres"), plans)
    options: dict[str, Any] = {
        "force": True,
        "on_progress": lambda progress: print(progress.case, flush=True),
    }
    if workers == "threads":
        with ThreadPoolExecutor(2) as threads:
            preprocessor.run(Dataset.load(dataset), store, threads, **options)
    else:
        preprocessor.run(Dataset.load(dataset), store, workers=int(workers), **options)


if __name__ == "__main__":
    main()
