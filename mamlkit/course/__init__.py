"""The machinery of the course: exercises, long trainings and their weights, the quickstart."""
