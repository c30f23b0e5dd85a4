"""The query language: text to a tree, the tree to functions, functions over documents."""
