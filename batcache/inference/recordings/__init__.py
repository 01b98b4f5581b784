"""New recordings: found, looked at, framed and judged, and what was done kept."""
