"""What the suites of engines share: namespaces of their own, cases and their count, programs to run in containers."""
