"""The commands: each parses, makes one library call, and shows what came of it."""
