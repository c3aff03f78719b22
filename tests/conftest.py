"""What every test of the tree shares."""

pytest_plugins = ["tests.plugins.needs"]
