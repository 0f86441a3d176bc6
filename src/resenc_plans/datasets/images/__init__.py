"""Image files: readers, geometry and writers."""
