from flask import Flask

from slip_sockets import Connection
from slip_sockets.flask import SlipSockets

app = Flask(__name__)
app.config["SLIP_SOCKETS_JWT_SECRET"] = "change-me"
sockets = SlipSockets(app)


@app.post("/slip")
@sockets.handler
def slip(connection: Connection) -> None:
    if connection.is_opening:
        connection.accept()
        connection.subscribe("lobby")
    for text in connection.texts:
        connection.publish_text("lobby", text)
