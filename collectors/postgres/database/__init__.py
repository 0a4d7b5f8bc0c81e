"""What scans read inside user databases."""
