"""Evaluate folders and determine their post-processing with the real nnU-Net, in one process.

`python evaluate_with_nnunet.py PLANS FOLDER…`: each folder has pred, ref and dataset.json; the
results go to summary_theirs.json beside them and into pred.
"""

import multiprocessing
import shutil
import sys
from itertools import starmap
from types import SimpleNamespace

from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2
from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing


class SameProcess:
    """A pool without processes: starting them takes seconds, and there are hundreds of them."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def starmap(self, function, arguments):
        return list(starmap(function, arguments))


if __name__ == "__main__":
    multiprocessing.get_context = lambda _: SimpleNamespace(Pool=SameProcess)
    plans, *folders = sys.argv[1:]
    for folder in folders:
        compute_metrics_on_folder2(
            f"{folder}/ref", f"{folder}/pred", f"{folder}/dataset.json", plans,
            f"{folder}/summary_theirs.json", 1, chill=True,
        )  # fmt: skip
        shutil.copytree(f"{folder}/pred", f"{folder}/pred_theirs")
        determine_postprocessing(
            f"{folder}/pred_theirs", f"{folder}/ref", plans, f"{folder}/dataset.json", 1
        )
