"""Messages with codes, their English templates and their Chinese catalogues."""
