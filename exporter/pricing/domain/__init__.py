"""Pure: components, dated rates, and the price of usage."""
