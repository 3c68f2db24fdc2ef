"""The cost of a deployment in a month: a pure model of what AWS meters, over a file of prices."""
