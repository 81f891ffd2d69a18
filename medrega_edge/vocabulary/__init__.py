"""Names of structures and lesions with synonyms and codes, and named sets of classification labels."""
