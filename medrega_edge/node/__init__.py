"""A node in the hospital's DICOM network: it receives studies, answers them by rules, and sends the results on.

One process. The network library's threads receive and put into a queue on the disk; one thread answers, one delivers. What
was acknowledged is on the disk, and a kill at any moment loses nothing of it and repeats nothing.
"""
