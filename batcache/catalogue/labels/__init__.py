"""Labels as other programs write them: one module a source."""
