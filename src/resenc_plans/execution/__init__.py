"""How work runs on this machine: CPUs, memory, processes, threads, Dask, signals, cases."""
