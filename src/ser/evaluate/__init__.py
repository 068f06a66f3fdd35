"""A trained model judged on labelled clips of your own."""
