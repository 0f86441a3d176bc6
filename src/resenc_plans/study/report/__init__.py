"""The report of a comparison: tables, plots and text to paste."""
