"""Model packages: the manifest, finding and verifying a package, its certificate."""
