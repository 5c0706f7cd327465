"""What runs over a link, shared by both ends: the link, its streams, the splice that joins two sides."""
