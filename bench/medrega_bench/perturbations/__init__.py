"""Perturbations of images: what happens to pictures in a clinic, at three severities, with boxes moved along."""
