"""What a plans file says: models, inheritance, older formats, derivation, rules, differences."""
