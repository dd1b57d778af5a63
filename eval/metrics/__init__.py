"""What is measured of a film: motion, fidelity, agreement with words, distances of distributions, copying."""
