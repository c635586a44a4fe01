"""Real events of the past through the rules: what they would have said, and to whom."""
