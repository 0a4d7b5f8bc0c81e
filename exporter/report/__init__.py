"""The monthly review and the FOCUS files: a month of the ledger, for people and for other tools."""
