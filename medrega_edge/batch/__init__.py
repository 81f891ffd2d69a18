"""Many images or questions: jobs, the journal that makes them resumable, processes, watched folders."""
