// A backend with Node's http and serve-grip, as its documentation has it. It does what room.py does.

import { createServer } from "node:http";

import { WebSocketMessageFormat } from "@fanoutio/grip";
import { ServeGrip } from "@fanoutio/serve-grip";

const serveGrip = new ServeGrip({ grip: process.env.GRIP_URL, gripProxyRequired: true });

async function handle(context) {
  if (context.isOpening()) {
    context.accept();
    context.subscribe("room");
    context.meta.texts = "0";
  }
  while (context.canRecv()) {
    const message = context.recv();
    if (message === null) {
      context.close(context.closeCode);
      return;
    }
    context.meta.texts = String(Number(context.meta.texts) + 1);
    if (message.startsWith("publish ")) {
      const format = new WebSocketMessageFormat(message.slice("publish ".length));
      await serveGrip.getPublisher().publishFormats("room", format);
    } else if (message === "count") {
      context.send(context.meta.texts);
    } else if (message === "leave") {
      context.unsubscribe("room");
      context.send("left");
    } else if (message === "close") {
      context.close();
    } else {
      context.send(message);
    }
  }
}

createServer(async (request, response) => {
  if (!(await serveGrip.run(request, response))) return;
  if (!request.grip.isSigned || request.url.includes("refuse")) {
    response.statusCode = 403;
  } else {
    try {
      await handle(request.grip.wsContext);
    } catch {
      response.statusCode = 500; // recv() throws an error for DISCONNECT
    }
  }
  response.end();
}).listen(Number(process.env.PORT), "127.0.0.1");
