"""What a deployment costs in a month: a pure model of what AWS meters, over a file of prices."""
