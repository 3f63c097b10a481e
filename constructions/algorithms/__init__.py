"""What the constructions imitate, in its textbook form."""
