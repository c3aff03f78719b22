"""How the documentation is made from the code, and its examples run. Used by docs/generate.py and tests/docs."""
