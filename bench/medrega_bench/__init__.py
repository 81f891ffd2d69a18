"""Questions with truth in, accuracy beside speed out: for this package, on this hardware."""
