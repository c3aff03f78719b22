"""What every test of the tree shares."""

pytest_plugins = ["holdfast.testing.fixtures", "tests.plugins.needs"]
