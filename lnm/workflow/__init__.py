"""The pipeline's own code: params.yaml typed, what a stage depends on, and how a notebook runs under DVC."""
