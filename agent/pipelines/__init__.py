"""What flow tables mean: fate, ledgers, names."""
