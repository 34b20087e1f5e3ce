"""Times and memory of whole commands, beside the bar each is held to. Run by `make bench`, never by the tests."""
