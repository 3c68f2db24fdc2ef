"""The inspector: what happens on a development server, in a page of its own at `/_inspector`.

`recorder` notes, `ports` is where it listens, `routes` serves all.
"""
