"""Networks of other authors."""
