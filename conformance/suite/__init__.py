"""What pytest collects: one test, multiplied by scenarios and cases."""
