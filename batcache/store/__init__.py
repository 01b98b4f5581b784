"""Frames to and from a chunked Zarr store."""
