"""The checks behind the rules, by what they look at."""
