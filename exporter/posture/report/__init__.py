"""The compliance report: what holds, what fails, by which evidence, and who answers for the rest."""
