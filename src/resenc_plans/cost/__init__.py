"""What an architecture costs, in closed form and without torch."""
