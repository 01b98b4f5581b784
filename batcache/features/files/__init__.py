"""Files of recordings, byte by byte: their chunks, their headers, and what stands in them beside the samples."""
