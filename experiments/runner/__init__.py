"""What experiments share: a table of variants x seeds x test sets, trained, tested and resumed."""
