"""The Python face: what ``import batcache`` gives."""
