"""The catalog's migrations: numbered, forward only, never edited once released."""
