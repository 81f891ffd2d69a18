"""DICOM files: checks before anything is decoded, pixels, lookup tables, series of a folder."""
