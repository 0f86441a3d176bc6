"""Statistics of paired scores: intervals, tests, ranks."""
