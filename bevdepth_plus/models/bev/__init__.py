"""From depth and context to an encoded map of the bird's-eye view."""
