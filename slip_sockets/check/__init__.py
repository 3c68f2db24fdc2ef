"""A conformance kit for backends: plays what the gateway and its clients may send, and says what to mend.

`exchange` makes the POSTs, `cases` says which, `judge` what an answer is worth, `play` goes through them, `command` is
`slip-sockets check`.
"""
