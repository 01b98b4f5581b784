"""What batcache costs: time and memory, measured on the machine at hand."""
