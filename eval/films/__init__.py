"""Films to be measured: read, made as controls, made as baselines."""
