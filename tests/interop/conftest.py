"""What pytest must not import here: scripts for the peer's interpreter."""

collect_ignore_glob = ["*_with_nnunet.py", "compare_networks.py", "trace_training_steps.py"]
