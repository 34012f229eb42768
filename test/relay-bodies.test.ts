/** Bodies over a real connection: the Node edge reads the socket's own stream, not the Request's. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { request, Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import * as z from "zod";
import { type Relay, startRelay } from "../src/relay.ts";
import { clusterOf, configOf, fakeObserver, webhook } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

let folder: string;
let relay: Relay;
const { observer, outcomes } = fakeObserver();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-bodies-"));
  const queue = { kind: "embedded", folder: join(folder, "queue") } as const;
  const config = configOf({
    webhooks: { open: { ...webhook, secret: null, insecure: true } },
    clusters: { dev: clusterOf(queue) },
    unparsed: queue,
    listen: { host: "127.0.0.1", port: 0 },
  });
  relay = await startRelay({ config, observer, roles: ["edge"] });
});
afterAll(async () => {
  await relay.stop();
  await rm(folder, { recursive: true, force: true });
});

const nothing = JSON.stringify({ events: [] });

/** Writes the pieces one by one; `end` false leaves the body open. */
async function post(
  pieces: readonly string[],
  { headers = {}, end = true }: { headers?: Record<string, string | number>; end?: boolean } = {},
) {
  const call = request(`${relay.url}/hooks/open`, { method: "POST", headers, agent: false });
  call.on("error", () => undefined); // the server closes while we still write
  for (const piece of pieces) call.write(piece);
  if (end) call.end();
  const [response] = await once(call, "response");
  const answer = { status: response.statusCode, body: await text(response) };
  call.destroy();
  return answer;
}

it("reads a body that comes in pieces, with and without a length", async () => {
  expect((await post([nothing.slice(0, 5), nothing.slice(5)])).status).toBe(200);
  expect((await post([nothing], { headers: { "content-length": nothing.length } })).status).toBe(200);
  expect((await post([], { headers: { "content-length": 0 } })).status).toBe(202); // not JSON: kept raw
});

it("waits for nobody who only holds a connection: ten seconds for the headers, twenty for all of it", async () => {
  const servers: unknown[] = [];
  const note = (message: unknown) => void servers.push(z.object({ server: z.instanceof(Server) }).parse(message).server);
  subscribe("http.server.request.start", note);
  onTestFinished(() => void unsubscribe("http.server.request.start", note));
  await post([nothing]);
  expect(servers).toEqual([expect.objectContaining({ headersTimeout: 10_000, requestTimeout: 20_000, keepAliveTimeout: 95_000 })]);
});

it("answers 413 while the sender still writes, and goes on", async () => {
  const piece = "x".repeat(64 * 1024);
  const tooMuch = Array.from({ length: 17 }, () => piece);
  const answer = await post(tooMuch, { end: false });
  expect(answer).toMatchObject({ status: 413 });
  expect(answer.body).toContain("TOO_LARGE");
  expect(outcomes().at(-1)).toBe("TOO_LARGE"); // the sender may never come again: whoever operates the relay must see it
  expect((await post(tooMuch, { headers: { "content-length": 64 * 1024 * 1024 }, end: false })).status).toBe(413);
  expect((await post([nothing])).status).toBe(200);
});

it("outlives a sender that goes away in the middle of a body, and tells of it", async () => {
  const isCut = (outcome: string) => outcome === "CUT_OFF";
  const socket = connect(relay.port ?? 0, "127.0.0.1");
  await once(socket, "connect");
  await new Promise<void>(
    (sent) => void socket.write("POST /hooks/open HTTP/1.1\r\nhost: relay\r\ncontent-length: 1000\r\n\r\nhalf", () => sent()),
  );
  socket.destroy();
  expect((await post([nothing])).status).toBe(200);
  await vi.waitFor(() => expect(outcomes().filter(isCut)).toHaveLength(1), waited); // half a body may have been a push
});
