"""What a plans file says: types, inheritance, older formats, derivation, checks, differences."""
