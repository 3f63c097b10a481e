"""`python -m theory_checks --html DIR`: the ledger, the notes and the figures as one page that needs no network."""
