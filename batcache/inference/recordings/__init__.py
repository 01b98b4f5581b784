"""New recordings: looked at, framed and judged, and what was done kept."""
