/** Stands between the relay and the API server: makes trouble, and sees every patch on its way, which is where the run knows them from. */
import { createServer, Agent, request } from "node:https";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { buffer } from "node:stream/consumers";
import * as z from "zod";
import type { ApiAddress } from "../e2e/world.ts";
import { freePort } from "../e2e/parts/child.ts";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";

/** `reset`: before the API server has the request; `unheard`: after it has answered. */
export type Trouble = "429" | "500" | "503" | "reset" | "unheard" | "hang";

export interface Patch {
  readonly module: string;
  /** What it writes; the override that holds exactly this got it. */
  readonly mark: string;
  /** When it was sent on. */
  readonly at: number;
  /** null: no answer came. */
  status: number | null;
}
export interface Api extends ApiAddress {
  readonly patches: readonly Patch[];
  /** From now on; null: none. */
  trouble(what: Trouble | null): void;
  stop(): Promise<void>;
}

const annotated = z.object({ metadata: z.object({ annotations: z.record(z.string(), z.string().nullable()) }) });
const HANG_STEP_MS = 50;

/** What a nudge wrote, out of a patch's or an override's annotations: two nudges never agree in it. */
export const markOf = (annotations: Readonly<Record<string, string | null>>): string =>
  JSON.stringify([annotations["mpo-relay/key"], annotations["mpo-relay/at"]]);

/** Every second request suffers while there is trouble, so that a retry meets both. */
export async function startApi(direct: ApiAddress): Promise<Api> {
  const { ca, cert, key } = await makeCertificates();
  const agent = new Agent({ keepAlive: true, ca: direct.ca });
  const patches: Patch[] = [];
  const now: { trouble: Trouble | null } = { trouble: null };
  let requests = 0;

  const handle = async (asked: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const body = await buffer(asked);
    const suffers = requests++ % 2 === 0 ? now.trouble : null;
    if (suffers === "429") return void answer.writeHead(429, { "retry-after": "1", "content-type": "text/plain" }).end("Too many requests");
    if (suffers === "500" || suffers === "503") return void answer.writeHead(Number(suffers), JSON_TYPE).end(failure(Number(suffers)));
    if (suffers === "reset") return void asked.socket.destroy();
    if (suffers === "hang") while (now.trouble === "hang") await sleep(HANG_STEP_MS);
    const patch = asked.method === "PATCH" ? patchOf(asked.url ?? "", body) : null;
    if (patch) patches.push(patch);
    const reply = await forward(asked, body);
    if (patch) patch.status = reply.status;
    if (suffers === "unheard") return void asked.socket.destroy();
    answer.writeHead(reply.status, reply.headers).end(reply.body);
  };
  const forward = ({ method = "GET", url = "/", headers }: IncomingMessage, body: Buffer) =>
    new Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
      const passed = { ...headers, host: new URL(direct.server).host };
      const sent = request(new URL(url, direct.server), { method, agent, headers: passed }, (reply) => {
        const { "transfer-encoding": _length, connection: _hop, ...kept } = reply.headers;
        buffer(reply).then((bytes) => resolve({ status: reply.statusCode ?? 502, headers: kept, body: bytes }), reject);
      });
      sent.once("error", reject).end(body);
    });
  const server = createServer({ cert, key }, (asked, answer) => {
    asked.once("error", () => undefined);
    handle(asked, answer).catch(() => asked.socket.destroy()); // no API server is no answer, as without this in between
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    server: `https://127.0.0.1:${port}`,
    ca,
    patches,
    trouble: (what) => void (now.trouble = what),
    stop: async () => {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const JSON_TYPE = { "content-type": "application/json" };
const failure = (code: number) =>
  JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason: "InternalError", message: "chaos", code });

/** A nudge; null: another patch, as the second half of a label's pulse is. */
function patchOf(url: string, body: Buffer): Patch | null {
  const module = /\/modulepulloverrides\/([^/?]+)/.exec(url)?.[1];
  const read = annotated.safeParse(JSON.parse(body.toString("utf8")));
  if (module === undefined || !read.success || !read.data.metadata.annotations["mpo-relay/key"]) return null;
  return { module, mark: markOf(read.data.metadata.annotations), at: Date.now(), status: null };
}
