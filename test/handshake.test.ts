/** Senders that ask before they send, and senders with a token: through the whole edge. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { describe, expect, it, test, vi } from "vitest";
import { createApp } from "../src/app.ts";
import { RelayError } from "../src/outcome.ts";
import { receive } from "../src/receive.ts";
import { deliveriesOf } from "./contracts/deliveries.ts";
import { configOf, fakeObserver, source, start, webhook } from "./support/relay.ts";

const SECRET = "correct-horse-battery-staple";

async function edge() {
  const { privateKey, publicKey } = await generateKeyPair("RS256");
  let keys: string | null = JSON.stringify({ keys: [await exportJWK(publicKey)] });
  const stored: string[] = [];
  const letters: unknown[] = [];
  const { observer, lines, alarms } = fakeObserver();
  const oidc = {
    issuer: null,
    audience: "https://relay.example.com/hooks/google",
    email: "push@example.com",
    subject: [],
    keys: { kind: "file", path: "keys" } as const,
  };
  const config = configOf({
    webhooks: {
      azure: { ...webhook, provider: "eventgrid" },
      "azure-url": { ...webhook, provider: "eventgrid", auth: "url" },
      registry: webhook,
      google: { ...webhook, provider: "gar", secret: null, oidc },
    },
    sources: [
      { ...source, repo: "modules.azurecr.io/deckhouse/modules" },
      { ...source, repo: "europe-west3-docker.pkg.dev/modules-project/deckhouse/modules" },
    ],
  });
  const app = createApp({
    config,
    observer,
    ready: async () => undefined,
    receive: (delivery) =>
      receive(delivery, {
        config,
        observer,
        now: () => start,
        async readSecret(ref) {
          if (ref.kind === "env") return SECRET;
          return keys ?? Promise.reject(new RelayError("INTERNAL", "cannot be read"));
        },
        store: async (records) => void stored.push(...[...records.values()].flat().map(({ body }) => body)),
        storeUnparsed: async (letter) => letters.push(letter) > 0,
      }),
  });
  const send = async (path: string, init: RequestInit) => {
    const response = await app.request(`/hooks/${path}`, init);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const token = (claims: object = {}) =>
    new SignJWT({ email: oidc.email, email_verified: true, ...claims })
      .setProtectedHeader({ alg: "RS256" })
      .setIssuer("https://accounts.google.com")
      .setAudience(oidc.audience)
      .setExpirationTime(start.getTime() / 1000 + 3600)
      .sign(privateKey);
  return { send, stored, letters, lines, alarms, token, loseKeys: () => (keys = null) };
}

const caseOf = (provider: string, name: string) => deliveriesOf(provider).find((each) => each.name === name) ?? expect.fail(name);
const bodyOf = (provider: string, name: string) => caseOf(provider, name).body.toString("utf8");
const auth = { authorization: `Bearer ${SECRET}` };

describe("Event Grid's own schema", () => {
  const question = bodyOf("eventgrid", "ignored-subscription-validation");
  const headers = { ...caseOf("eventgrid", "ignored-subscription-validation").headers };

  it("is answered 200 with its code, and no URL is called", async () => {
    const e = await edge();
    const fetching = vi.spyOn(globalThis, "fetch").mockRejectedValue(new Error("no network here"));
    const answer = await e.send("azure", { method: "POST", headers: { ...headers, ...auth }, body: question });
    const inPath = await e.send(`azure-url/${SECRET}`, { method: "POST", headers, body: question });
    expect([answer.status, JSON.parse(answer.text)]).toEqual([200, { validationResponse: "3F6B1C2D-0A9E-4D57-8C31-5E7F9A0B1C2D" }]);
    expect([inPath.status, inPath.text]).toEqual([200, answer.text]);
    expect([e.stored, e.letters, fetching.mock.calls]).toEqual([[], [], []]);
    expect(e.lines.map(({ outcome }) => outcome)).toEqual(["HANDSHAKE", "HANDSHAKE"]);
    fetching.mockRestore();
  });

  it("is refused without the secret, and means nothing to another provider", async () => {
    const e = await edge();
    for (const [path, more] of [
      ["azure", {}],
      ["azure", { authorization: "Bearer wrong" }],
      ["azure-url", {}],
      ["azure-url/wrong", {}],
      ["azure-url", auth],
    ] as const)
      expect(await e.send(path, { method: "POST", headers: { ...headers, ...more }, body: question })).toMatchObject({
        status: 401,
        text: "",
      });
    expect((await e.send("registry", { method: "POST", headers: { ...headers, ...auth }, body: question })).text).not.toContain(
      "validationResponse",
    );
  });

  test.each([
    ["beside another event", (events: object[]) => [...events, ...events]],
    ["with a code that is no text", (events: object[]) => events.map((each) => ({ ...each, data: { validationCode: 5 } }))],
    ["with a code of any length", (events: object[]) => events.map((each) => ({ ...each, data: { validationCode: "x".repeat(257) } }))],
  ])("%s is no question", async (_what, change) => {
    const e = await edge();
    const answer = await e.send("azure", {
      method: "POST",
      headers: { ...headers, ...auth },
      body: JSON.stringify(change(JSON.parse(question))),
    });
    expect([answer.status, answer.text.includes("validationResponse")]).toEqual([200, false]);
  });
});

describe("CloudEvents' OPTIONS", () => {
  const ask = { method: "OPTIONS", headers: { "WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120" } };

  it("gives leave to Event Grid, by its name alone", async () => {
    const e = await edge();
    const { status, headers, text } = await e.send("azure", ask);
    expect([status, text]).toEqual([200, ""]);
    expect([headers.get("webhook-allowed-origin"), headers.get("webhook-allowed-rate")]).toEqual(["eventgrid.azure.net", "*"]);
    for (const origin of ["eventgrid.azure.net.evil.example", "evil.example", "evileventgrid.azure.net", "*", ""])
      expect(await e.send("azure", { method: "OPTIONS", headers: { "WebHook-Request-Origin": origin } })).toMatchObject({
        status: 405,
        text: "",
      });
    expect(await e.send("azure", { method: "OPTIONS" })).toMatchObject({ status: 405 });
  });

  it("asks for the secret where it is in the path", async () => {
    const e = await edge();
    expect((await e.send(`azure-url/${SECRET}`, ask)).status).toBe(200);
    for (const path of ["azure-url", "azure-url/wrong"]) expect((await e.send(path, ask)).status).toBe(401);
  });

  it("is not for providers that do not ask", async () => {
    const e = await edge();
    for (const path of ["registry", "google"]) {
      const { status, headers } = await e.send(path, ask);
      expect([status, headers.get("allow"), headers.get("webhook-allowed-origin")]).toEqual([405, "POST", null]);
    }
  });

  it("never lets a push in", async () => {
    const e = await edge();
    const body = bodyOf("eventgrid", "push-cloudevent");
    for (const path of ["azure", "azure-url/x", "registry", "google"]) await e.send(path, { ...ask, body });
    for (const path of ["azure", "registry"]) await e.send(path, { method: "OPTIONS", body });
    expect([e.stored, e.letters]).toEqual([[], []]);
  });
});

describe("Pub/Sub's token", () => {
  const push = bodyOf("gar", "push-wrapped");
  const post = (headers: Record<string, string>) => ({
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: push,
  });

  it("lets a push in", async () => {
    const e = await edge();
    expect(await e.send("google", post({ authorization: `Bearer ${await e.token()}` }))).toMatchObject({ status: 202 });
    expect(e.stored).toHaveLength(1);
  });

  it("of anybody else is refused, and so is a secret", async () => {
    const e = await edge();
    const foreign = await edge();
    const tokens = [
      await e.token({ email: "other@example.com" }),
      await e.token({ email_verified: false }),
      await foreign.token(),
      SECRET,
      "",
    ];
    for (const token of tokens)
      expect(await e.send("google", post({ authorization: `Bearer ${token}` }))).toMatchObject({ status: 401, text: "" });
    expect(await e.send(`google/${SECRET}`, post({}))).toMatchObject({ status: 401 });
    expect(e.stored).toEqual([]);
  });

  it("is asked for again, with an alarm, while the keys cannot be had", async () => {
    const e = await edge();
    e.loseKeys();
    const token = await e.token();
    expect(await e.send("google", post({ authorization: `Bearer ${token}` }))).toMatchObject({ status: 503 });
    expect(e.alarms.map(({ code }) => code)).toEqual(["KEYS_UNAVAILABLE"]);
    expect(JSON.stringify([e.alarms, e.lines])).not.toContain(token);
  });
});
