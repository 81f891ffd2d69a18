"""Questions with truth: loaders of foreign formats, the evaluation set, the quick set."""
