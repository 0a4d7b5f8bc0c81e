"""What every branch and tenant costs, exactly, and what will be invoiced."""
