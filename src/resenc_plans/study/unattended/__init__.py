"""Studies that run unattended, from a file to a report."""
