"""Pictures: all cameras with projected boxes, the bird's-eye view, depth overlays. Headless."""
