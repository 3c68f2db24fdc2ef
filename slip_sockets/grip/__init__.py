"""GRIP, the dialect of Pushpin and Fastly Fanout: WebSocket-over-HTTP for backends, items for publishers. No I/O.

- `framing` is the codec of bodies; `state` is what is stored of a connection; `handshake` are the headers.
- `controls` reads the control messages of a reply; `backend` puts these together.
- `items` reads what is published; `publish` is the control API's dialect; `tokens` signs and verifies.

https://pushpin.org/docs/protocols/websocket-over-http/ https://pushpin.org/docs/protocols/grip/
"""
