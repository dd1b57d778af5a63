"""Table 1, the ranking against controls, the figures and the report."""
