"""The monthly review and the FOCUS files: a month of the ledger, told to people and to other tools."""
