"""A failed assertion in a suite says what was compared, as in a test file."""

import pytest

pytest.register_assert_rewrite(
    "holdfast.testing.store_contract",
    "holdfast.testing.store_reading",
    "holdfast.testing.store_writing",
    "tests.contract.catalog_kit",
    "tests.contract.catalog_suite",
)
