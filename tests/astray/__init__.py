"""Whether requests with filters go astray: real clients of four languages, while laptops join, leave and are killed."""
