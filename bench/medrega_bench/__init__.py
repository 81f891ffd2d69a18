"""Questions with truth in, accuracy with intervals out: for this package, on this hardware."""
