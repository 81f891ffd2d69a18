"""Results as pages, charts and the generated blocks of the documents."""
