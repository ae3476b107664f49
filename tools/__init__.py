"""Command-line tools, each a script; a package so that they and their tests share modules."""
