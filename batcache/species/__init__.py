"""What bats are called: Latin, English, German and French names, codes, groups."""
