"""Nets in the files, and the objects, of other libraries."""
