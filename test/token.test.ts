/** `mpo-relay token` against an API server that answers TokenRequests, the store it writes to, and the alarm before a token ends. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { tokenCommand, type WriteParameter } from "../src/cli/token.ts";
import { listen, type Listening } from "../src/listen.ts";
import type { AlarmLine } from "../src/observe.ts";
import { parameterOf, writeParameter } from "../src/ssm.ts";
import { lifeOf, watchTokenEnd } from "../src/token-end.ts";
import { runCommand } from "./support/cli.ts";

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly authorization: string;
  readonly target: string;
  readonly body: unknown;
}
const FRESH = "a-fresh.token-that-nobody.may-see";
const ENDS = "2026-06-02T12:00:00Z";

let server: Listening;
let url: string;
let folder: string;
let asked: Asked[] = [];
let answer: { status: number; body: unknown };
/** Given before it, one by one. */
const before: (typeof answer)[] = [];
beforeAll(async () => {
  const fetch = async (request: Request) => {
    const { method, headers } = request;
    const body: unknown = JSON.parse((await request.text()) || "null");
    const header = (name: string) => headers.get(name) ?? "";
    asked.push({
      method,
      path: new URL(request.url).pathname,
      authorization: header("authorization"),
      target: header("x-amz-target"),
      body,
    });
    const { body: given, status } = before.shift() ?? answer;
    return Response.json(given, { status });
  };
  server = await listen({ fetch, host: "127.0.0.1", port: 0, setting: "test" });
  url = server.url;
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-token-"));
  const kubeconfig = {
    "current-context": "here",
    clusters: [{ name: "here", cluster: { server: url, "insecure-skip-tls-verify": true } }],
    users: [{ name: "job", user: { token: "token-of-the-job" } }],
    contexts: [{ name: "here", context: { cluster: "here", user: "job" } }],
  };
  await writeFile(join(folder, "config"), JSON.stringify(kubeconfig));
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  asked = [];
  answer = { status: 201, body: { kind: "TokenRequest", status: { token: FRESH, expirationTimestamp: ENDS } } };
});

const written: { name: string; value: string }[] = [];
const keep: WriteParameter = async (name, value) => void written.push({ name, value });
const token = (args: readonly string[], write: WriteParameter = keep) => {
  written.length = 0;
  return runCommand((terminal) => tokenCommand(terminal, write), ["--kubeconfig", join(folder, "config"), ...args]);
};

describe("mpo-relay token", () => {
  it("asks for a token of the relay's account, writes it, and tells when it ends but not what it is", async () => {
    const { exitCode, out, err } = await token(["--to", "ssm:/mpo-relay/dev/token", "--duration", "12h"]);
    expect(exitCode).toBe(0);
    expect(asked).toMatchObject([
      {
        method: "POST",
        path: "/api/v1/namespaces/mpo-relay/serviceaccounts/mpo-relay/token",
        authorization: "Bearer token-of-the-job",
        body: { kind: "TokenRequest", spec: { expirationSeconds: 43_200 } },
      },
    ]);
    expect(written).toEqual([{ name: "/mpo-relay/dev/token", value: FRESH }]);
    expect(err).toBe(`ssm:/mpo-relay/dev/token holds a token of mpo-relay/mpo-relay that ends at ${ENDS}`);
    expect(out + err).not.toContain(FRESH);
  });

  it("prints the same as JSON", async () => {
    const { out } = await token(["--to", "ssm:/a/token", "--json"]);
    expect(JSON.parse(out)).toEqual({ to: "ssm:/a/token", endsAt: ENDS });
    expect(asked[0]?.body).toMatchObject({ spec: { expirationSeconds: 86_400 } });
  });

  it.each([
    [["--to", "file:token"], "write ssm:NAME"],
    [["--to", "the-secret-itself"], "write ssm:NAME"],
    [["--to", "ssm:/a", "--duration", "5m"], "the shortest that an API server gives is 10m"],
  ])("%j asks nobody: 2", async (args, why) => {
    const { exitCode, err } = await token(args);
    expect(exitCode).toBe(2);
    expect(err).toContain(why);
    expect(asked).toEqual([]);
  });

  it("a refusal by the API server writes nothing", async () => {
    answer = {
      status: 403,
      body: { kind: "Status", reason: "Forbidden", code: 403, message: 'cannot create resource "serviceaccounts/token"' },
    };
    await expect(token(["--to", "ssm:/a"])).rejects.toMatchObject({ code: "FORBIDDEN" }); // which the program prints: 1
    expect(written).toEqual([]);
  });

  it("an answer that is no token writes nothing", async () => {
    answer = { status: 201, body: { kind: "TokenRequest", status: { token: "" } } };
    await expect(token(["--to", "ssm:/a"])).rejects.toMatchObject({ code: "CLUSTER_ERROR", message: "the answer is no TokenRequest" });
    expect(written).toEqual([]);
  });

  it("says that the store refused it, and what it needs", async () => {
    const refuse: WriteParameter = async () => Promise.reject(new Error("AccessDeniedException"));
    const { exitCode, err } = await token(["--to", "ssm:/a"], refuse);
    expect(exitCode).toBe(1);
    expect(err).toBe(
      "the fresh token could not be written to ssm:/a: AccessDeniedException\nit needs ssm:PutParameter on that parameter; the token before it stays",
    );
  });
});

describe("the parameter", () => {
  beforeAll(() => {
    vi.stubEnv("AWS_ENDPOINT_URL_SSM", url);
    vi.stubEnv("AWS_REGION", "eu-central-1");
    vi.stubEnv("AWS_ACCESS_KEY_ID", "a");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "b");
  });
  afterAll(() => vi.unstubAllEnvs());

  it.each([
    ["ThrottlingException", 400],
    ["InternalServerError", 500],
  ])("is asked for once more after %s, and no more often", async (name, status) => {
    before.push({ status, body: { __type: name } });
    answer = { status: 200, body: { Parameter: { Value: "known" } } };
    expect(await parameterOf("/a/token")).toBe("known");
    answer = { status, body: { __type: name } };
    await expect(parameterOf("/a/token")).rejects.toThrow(name);
    expect(asked).toHaveLength(4);
  });

  it.each([
    ["AccessDeniedException", /^AccessDeniedException$/],
    ["ValidationException", /^ValidationException$/],
  ])("is asked for once where the answer is %s", async (name, why) => {
    answer = { status: 400, body: { __type: name } };
    await expect(parameterOf("/a/token")).rejects.toThrow(why);
    expect(asked).toHaveLength(1);
  });

  it("that is not there is null", async () => {
    answer = { status: 400, body: { __type: "ParameterNotFound" } };
    expect(await parameterOf("/a/token")).toBeNull();
  });

  it("is written as a SecureString over what was there", async () => {
    answer = { status: 200, body: { Version: 2 } };
    await writeParameter("/a/token", "fresh");
    expect(asked).toMatchObject([
      { target: "AmazonSSM.PutParameter", body: { Name: "/a/token", Value: "fresh", Type: "SecureString", Overwrite: true } },
    ]);
  });

  it("that is refused says why, and not what was to be written", async () => {
    answer = { status: 400, body: { __type: "AccessDeniedException", message: "no: fresh" } };
    await expect(writeParameter("/a/token", "fresh")).rejects.toThrow(/^AccessDeniedException$/);
  });
});

describe("a token that ends", () => {
  const HOUR = 3_600_000;
  const begins = Date.parse("2026-06-01T12:00:00Z");
  const jwt = (claims: Record<string, number>) => new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(new Uint8Array(32));
  const day = () => jwt({ iat: begins / 1000, exp: (begins + 24 * HOUR) / 1000 });

  it("is read without its signature; another one, and one without an end, tell nothing", async () => {
    expect(await lifeOf(await day())).toEqual({ beginsAt: begins, endsAt: begins + 24 * HOUR });
    expect(await lifeOf(await jwt({ iat: 1 }))).toBeNull();
    expect(await lifeOf("opaque")).toBeNull();
    expect(await lifeOf("")).toBeNull();
  });

  it("is told in the last quarter of its life, once an hour, also after its end", async () => {
    const alarms: { code: string; line: AlarmLine }[] = [];
    let at = begins;
    const observer = { outcome: () => {}, alarm: (code: string, line: AlarmLine) => void alarms.push({ code, line }) };
    const watch = watchTokenEnd("dev", observer, () => new Date(at));
    const heard = async (hours: number, each = day()) => {
      at = begins + hours * HOUR;
      await watch(await each);
      return alarms.length;
    };
    expect(await heard(17.9)).toBe(0);
    expect(await heard(18.1)).toBe(1);
    expect(alarms).toMatchObject([{ code: "TOKEN_ENDS", line: { cluster: "dev", endsAt: "2026-06-02T12:00:00.000Z" } }]);
    expect(await heard(18.9)).toBe(1);
    expect(await heard(19.2)).toBe(2);
    expect(await heard(25)).toBe(3);
    const renewed = jwt({ iat: begins / 1000 + 26 * 3600, exp: begins / 1000 + 50 * 3600 });
    expect(await heard(27, renewed)).toBe(3);
    expect(JSON.stringify(alarms)).not.toContain(await day());
  });

  // an issuer of the API server's own may write other times, of which the watch then knows nothing
  it.each([{ exp: "soon" }, { iat: "x", exp: begins / 1000 + 24 * 3600 }])(
    "never keeps anybody from a cluster by what stands in its token: %j",
    async (claims) => {
      const codes: string[] = [];
      const observer = { outcome: () => {}, alarm: (code: string) => void codes.push(code) };
      const encoded = Buffer.from(JSON.stringify(claims)).toString("base64url");
      await watchTokenEnd("dev", observer, () => new Date(begins))(`e30.${encoded}.e30`);
      expect(codes).toEqual([]);
    },
  );
});
