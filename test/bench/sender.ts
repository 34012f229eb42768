/** A registry that tells of pushes: a real notification of Distribution 3.1.2, and variations of it. */
import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import * as z from "zod";
import { SECRET } from "./world.ts";

/** As it came from the wire: 1,579 bytes, one push of demo/app:v1. */
export const delivery = () => readFile("test/fixtures/distribution/push-tagged-manifest-3.1.2.body");
/** Where the notification says that it came from. */
export const SOURCE = "127.0.0.1:5003/demo";
export const TAG = "v1";
export const headers = {
  authorization: `Bearer ${SECRET}`,
  "content-type": "application/vnd.docker.distribution.events.v2+json",
  "user-agent": "Go-http-client/1.1",
};

export interface Push {
  readonly module: string;
  readonly digest: string;
  readonly body: string;
}

/**
 * Pushes of a pipeline that tells of them itself: what is measured is the relay, and of a push to Distribution the first second is the wait
 * for its tag (TAG_FOLLOWS_SECONDS).
 */
export function pushOf(module: string): Push {
  const digest = `sha256:${randomBytes(32).toString("hex")}`;
  const body = JSON.stringify({
    repository: `${SOURCE}/${module}`,
    tag: TAG,
    digest,
    id: randomUUID(),
    time: new Date().toISOString(),
    actor: "bench",
  });
  return { module, digest, body };
}

const answer = z.object({ decision: z.literal("queued"), key: z.string() });

/** Sends deliveries over kept connections. Throws for any answer but 202. */
export class Sender {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** The push's key, once it is acknowledged. */
  send(body: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const settings = { method: "POST", agent: this.#agent, headers: { ...headers, "content-length": Buffer.byteLength(body) } };
      const call = request(this.#url, settings, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.once("end", () => {
          if (response.statusCode === 202) resolve(answer.parse(JSON.parse(text)).key);
          else reject(new Error(`the edge answered ${response.statusCode}: ${text}`));
        });
      });
      call.once("error", reject);
      call.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
