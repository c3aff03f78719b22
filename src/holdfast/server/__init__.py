"""The HTTP face: API, pages, bytes in and out."""
