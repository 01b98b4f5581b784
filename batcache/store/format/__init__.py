"""The store's format: what lies where, read and written."""
