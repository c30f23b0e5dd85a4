"""The expression language: text is parsed once to closures, and these only read the data they are given."""
