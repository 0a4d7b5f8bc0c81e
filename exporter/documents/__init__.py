"""Making documents: tables, charts, HTML, spreadsheets. Knows no feature."""
