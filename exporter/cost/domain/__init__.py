"""Pure: allocation, closing, forecasts, waste. No await, clock, file or float money."""
