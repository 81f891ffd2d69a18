"""Bytes to `MedicalImage`: readers by format, windows, orientation, and the tensor that the vision tower takes."""
