from flask import Flask, request

from slip_sockets import Answer, Open, SlipSocketsPublisher, Text

app = Flask(__name__)
sockets = SlipSocketsPublisher(control_api="http://127.0.0.1:8787/control", jwt_secret="change-me")


@app.post("/slip")
def slip() -> Answer:
    connection = sockets.parse_request(request.headers, request.get_data())
    for event in connection.events:
        if isinstance(event, Open):
            connection.accept()
            connection.subscribe("lobby")
        elif isinstance(event, Text):
            connection.publish_text("lobby", event.data)
    return connection.answer()
