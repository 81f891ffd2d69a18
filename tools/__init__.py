"""Programs for maintainers: fuzzing, kill tests, and the long form of what SECURITY.md claims."""
