"""Files of a pod."""
