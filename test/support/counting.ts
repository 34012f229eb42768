/** Stands between a client of AWS and the service, hands everything on, and counts the calls by their action. */
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

export interface Call {
  /** `X-Amz-Target` without the service's name. */
  readonly action: string;
  readonly authorization: string;
  readonly body: string;
}
export interface Counting {
  readonly endpoint: string;
  readonly calls: readonly Call[];
  /** Actions with their number since the last time, and forgets them. */
  take(): Readonly<Record<string, number>>;
  close(): void;
}

/** `rewrite`: what the service gets in place of the body that came; for one that knows its queues by other names. */
export async function countCalls(service: string, rewrite = (body: string) => body): Promise<Counting> {
  const calls: Call[] = [];
  const server = createServer((request, answer) => {
    const pass = async () => {
      const body = await text(request);
      const { "x-amz-target": target = "", authorization = "", "content-type": type = "", "x-amz-date": date = "" } = request.headers;
      calls.push({ action: String(target).replace(/^.*\./, ""), authorization, body });
      const headers = { "content-type": type, "x-amz-target": String(target), authorization, "x-amz-date": String(date) };
      const answered = await fetch(service, { method: "POST", headers, body: rewrite(body) });
      answer.writeHead(answered.status, { "content-type": answered.headers.get("content-type") ?? "" }).end(await answered.text());
    };
    pass().catch(() => answer.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    calls,
    take() {
      const counts: Record<string, number> = {};
      for (const { action } of calls.splice(0)) counts[action] = (counts[action] ?? 0) + 1;
      return counts;
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
