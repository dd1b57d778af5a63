"""What is written: one video's metrics.json, a score of anybody's films."""
