"""A store in one HDF5 file."""
