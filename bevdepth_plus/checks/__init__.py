"""Will this data train? What ``tools/check_data.py`` looks at, a file a question."""
