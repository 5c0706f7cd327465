"""Files of a pod's volumes: read without leaving them, sent as one document, and kept as a copy on a laptop."""
