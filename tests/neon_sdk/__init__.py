"""Neon's API as the types of its newest client, npm's `@neon/sdk`, state it; and what of it the product reads."""
