"""The generated data set that every task can be tried with."""
