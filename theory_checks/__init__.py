"""Executable proofs: every statement is checked, graded and listed in the ledger."""
