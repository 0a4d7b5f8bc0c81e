"""Real services come as plugins, one file each; a test names the service it needs."""

from hypothesis import settings

# Never a deadline: a slow machine is no failure.
settings.register_profile("neonmeter", deadline=None)
settings.load_profile("neonmeter")

pytest_plugins = [
    "tests.fix_postgres",
    "tests.fix_pgbouncer",
    "tests.fix_prometheus",
    "tests.fix_twin",
    "tests.fix_twin_world",
    "tests.fix_agent",
    "tests.fix_openbao",
    "tests.fix_s3",
]
