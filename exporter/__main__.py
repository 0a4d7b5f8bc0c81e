"""`python -m exporter` is `neonmeter`."""

import sys

from exporter.commands.entry import main

sys.exit(main())
