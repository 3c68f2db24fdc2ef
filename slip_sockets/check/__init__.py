"""A conformance test for backends: sends what the gateway and its clients may send, and reports problems with fixes.

`cases` has the POSTs, `target` makes them, `judge` judges the responses, `play` runs all of it, `report` prints it for
`slip-sockets check`.
"""
