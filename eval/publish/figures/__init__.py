"""Every figure, PNG and PDF, one look."""
