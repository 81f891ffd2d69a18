"""Answers as pictures, tables and DICOM objects."""
