"""The money: the ledger, the rate card, costs by month and what is shown of them."""
