// slip-sockets.js as a module, whatever the package.json above it says.
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "slip-sockets-"));
const copy = join(folder, "slip-sockets.mjs");
copyFileSync(new URL("../../../slip_sockets/browser/slip-sockets.js", import.meta.url), copy);
export const { Channel, Members, SlipSocket } = await import(copy);
rmSync(folder, { recursive: true });
