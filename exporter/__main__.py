"""`python -m exporter` is `neonmeter`."""

import sys

from exporter.commands.main import main

sys.exit(main())
