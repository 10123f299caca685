"""Wrong answers to assignment 3."""
WRONG = {}
