"""The ledger of the paper's claims, and what computes each."""
