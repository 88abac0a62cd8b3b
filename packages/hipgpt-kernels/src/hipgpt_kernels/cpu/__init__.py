"""The NumPy backend: float32, multithreaded; complete by itself on any machine."""
