/** `send` and `announce` against a relay that runs, for every provider; and what each sample says, read back. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { announceCommand } from "../src/cli/announce.ts";
import { historyCommand } from "../src/cli/history.ts";
import { sendCommand } from "../src/cli/send.ts";
import { setupOf, setups } from "../src/cli/setup/index.ts";
import type { SamplePush } from "../src/cli/setup/setup.ts";
import { Failure, type Terminal } from "../src/cli/terminal.ts";
import { loadConfig } from "../src/config.ts";
import type { Stage } from "../src/journal/journal.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import type { Detail } from "../src/outcome.ts";
import { providerNames, providers } from "../src/providers/index.ts";
import { pushesOf } from "../src/providers/provider.ts";
import { type Relay, startRelay } from "../src/relay.ts";
import { mpoRelay, runCommand } from "./support/cli.ts";
import { digestOf, fakeObserver } from "./support/relay.ts";
import { HEAVY_MS, until } from "./support/wait.ts";

/** By which host each of them is known; the rest is at one of no particular make. */
const HOSTS: Readonly<Record<string, string>> = {
  ghcr: "ghcr.io/example-org",
  acr: "modules.azurecr.io",
  eventgrid: "events.azurecr.io",
  gar: "europe-west3-docker.pkg.dev/modules-project",
  ecr: "210987654321.dkr.ecr.eu-central-1.amazonaws.com",
  yandex: "cr.yandex/crp0a1b2c3d4e5f6g7h8",
  alibaba: "registry.cn-hangzhou.aliyuncs.com",
  dockerhub: "docker.io/example",
};
const repoOf = (name: string) => `${HOSTS[name] ?? `${name}.example.com:8443`}/deckhouse/modules`;
/** Their events name no host. */
const NAMELESS = ["nexus", "zot"];
/** Their events name no digest. */
const WITHOUT_DIGEST = ["nexus", "gitea", "forgejo", "quay", "dockerhub"];
const SECRET = "whsec_Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";

let folder: string;
let config: string;
let relay: Relay;
/** Where nobody listens. */
let nobody: string;
const { observer, lines } = fakeObserver();
const env: NodeJS.ProcessEnv = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "send-"));
  config = join(folder, "relay.yaml");
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  await writeFile(join(folder, "jwks.json"), JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: "RS256" }] }));
  await writeFile(join(folder, "secret"), `${SECRET}\n`);
  const token = (claims: Record<string, unknown>, issuer: string) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: "RS256" })
      .setIssuer(issuer)
      .setAudience("the-relay")
      .setIssuedAt()
      .setExpirationTime("1h")
      .sign(privateKey);
  env["GAR"] = await token({ email: "push@p.iam.gserviceaccount.com", email_verified: true }, "https://accounts.google.com");
  env["JOB"] = await token({ sub: "project_path:modules/echo:ref_type:branch:ref:main" }, "https://gitlab.example.com");
  await writeFile(config, JSON.stringify(configuration()));
  const loaded = await loadConfig({ file: config });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  const gone = await startRelay({ config: loaded.config, observer, roles: ["edge"] });
  nobody = gone.url ?? "";
  await gone.stop();
  relay = await startRelay({ config: loaded.config, observer, roles: ["edge"] });
});
afterAll(async () => {
  await relay.stop();
  await rm(folder, { recursive: true });
});

function configuration() {
  const secret = "file:secret";
  const google = { audience: "the-relay", email: "push@p.iam.gserviceaccount.com", keys: "file:jwks.json" };
  const gitlab = {
    issuer: "https://gitlab.example.com",
    audience: "the-relay",
    subject: "project_path:modules/*:*",
    keys: "file:jwks.json",
  };
  const webhooks = providerNames.flatMap((provider) => {
    const host = NAMELESS.includes(provider) ? { host: `${provider}.example.com:8443` } : {};
    const common = { provider, sources: [provider], ...host };
    return (providers[provider]?.auth ?? []).map(({ kind }, index) => [
      index === 0 ? provider : `${provider}-${kind}`,
      { ...common, auth: kind, ...(kind === "oidc" ? { oidc: provider === "gar" ? google : gitlab } : { secret }) },
    ]);
  });
  return {
    webhooks: {
      ...Object.fromEntries(webhooks),
      open: { provider: "generic", insecure: true, sources: ["generic"] },
      "other-secret": { provider: "harbor", secret: "env:OTHER", sources: ["harbor"] },
      narrow: { provider: "harbor", secret, sources: ["narrow"] },
      "every-source": { provider: "ghcr", secret },
      elsewhere: { provider: "artifactory", secret, sources: ["virtual"], host: "artifactory.example.com" },
    },
    sources: [
      ...providerNames.map((name) => ({ name, repo: repoOf(name) })),
      { name: "narrow", repo: "narrow.example.com/m", modules: ["team-*"] },
      { name: "virtual", repo: "docker.example.com/m", aliases: ["artifactory.example.com/docker-local/m"] },
    ],
    clusters: { dev: { queue: "embedded:./data" } },
    listen: "127.0.0.1:0",
  };
}

const digest = digestOf("a");
const send = async (name: string, ...args: readonly string[]) => {
  const now = new Date();
  return mpoRelay(
    ["send", name, "--config", config, "--url", relay.url ?? "", "--timeout", "0s", ...args],
    { OTHER: "another secret", ...env },
    now,
  );
};
const answerSchema = z.object({ image: z.string(), status: z.number(), decision: z.string().nullable(), key: z.string().nullable() });
const asJson = (text: string) => answerSchema.loose().parse(JSON.parse(text));

describe("the setup table", () => {
  it("has rows of providers alone", () => {
    expect(Object.keys(setups).filter((name) => !providerNames.includes(name))).toEqual([]);
  });

  describe.each(providerNames)("%s", (name) => {
    const [host = "", ...path] = repoOf(name).split("/");
    const push: SamplePush = {
      host,
      repository: `${path.join("/")}/echo`,
      tag: "v1.0_rc.1",
      digest,
      time: new Date("2026-11-20T12:04:05.000Z"),
      id: "c0ffee-1",
    };

    it.each([digest, undefined])("sends a body that its provider reads as that push, digest %s", (given) => {
      const provider = providers[name];
      const sample = provider && setupOf(provider).sample?.({ ...push, digest: given });
      if (!provider || !sample) throw new Error("neither a file in src/cli/setup/ nor a sample");
      const delivery = { headers: sample.headers ?? {}, host: NAMELESS.includes(name) ? host : null };
      const { pushes, unreadable } = pushesOf(provider, JSON.parse(JSON.stringify(sample.body)), delivery);
      expect(unreadable).toEqual([]);
      const { repository, tag } = push;
      expect(pushes).toEqual([
        expect.objectContaining({ host, repository, tag, digest: WITHOUT_DIGEST.includes(name) ? null : (given ?? null) }),
      ]);
      expect([push.time.toISOString(), null]).toContain(pushes[0]?.time);
    });
  });
});

describe("send", () => {
  const webhooks = providerNames.flatMap((name) =>
    (providers[name]?.auth ?? []).map(({ kind }, index) => ({ name: index === 0 ? name : `${name}-${kind}`, kind, provider: name })),
  );

  it.each(webhooks)("$name by $kind: a relay stores it", async ({ name, kind, provider }) => {
    const token = kind === "oidc" ? ["--id-token-env", provider === "gar" ? "GAR" : "JOB"] : [];
    const { exitCode, out, err } = await send(name, "--module", "echo", "--tag", "main", "--digest", digest, "--json", ...token);
    expect(exitCode, err).toBe(0);
    const { key, ...said } = asJson(out);
    expect(said).toMatchObject({ image: `${repoOf(provider)}/echo:main`, status: 202, decision: "queued" });
    const line = lines.find((each) => each["key"] === key);
    expect(line).toMatchObject({
      outcome: "QUEUED",
      webhook: name,
      module: "echo",
      tag: "main",
      digest: WITHOUT_DIGEST.includes(provider) ? null : digest,
    });
  });

  it("tells of an image that nobody follows, unless told otherwise, and where to look", async () => {
    const { exitCode, out } = await send("harbor");
    expect(exitCode).toBe(0);
    expect(out).toMatch(
      /^POST http:\S+\/hooks\/harbor, as Harbor tells it\n {2}push {2}harbor\.example\.com:8443\/deckhouse\/modules\/mpo-relay-test:mpo-relay-test sha256:[0-9a-f]{64}\n202 queued, key [0-9a-f]{32}\n/,
    );
    expect(out).toContain("next: mpo-relay history --key ");
  });

  it("makes up no digest for a tag that somebody may follow", async () => {
    const { out } = await send("harbor", "--module", "echo", "--tag", "main", "--json");
    expect(asJson(out)).toMatchObject({ digest: null, decision: "queued" });
  });

  it.each([
    ["takes a module that the source has", ["narrow", "--json"], "narrow.example.com/m/team-x:mpo-relay-test"],
    ["takes the source at its provider's host", ["every-source", "--json"], `${repoOf("ghcr")}/mpo-relay-test:mpo-relay-test`],
    [
      "takes the alias at the webhook's host",
      ["elsewhere", "--json"],
      "artifactory.example.com/docker-local/m/mpo-relay-test:mpo-relay-test",
    ],
    ["takes the source that is named", ["every-source", "--source", "ghcr", "--json"], `${repoOf("ghcr")}/mpo-relay-test:mpo-relay-test`],
    ["signs nothing at a webhook without a secret", ["open", "--json"], `${repoOf("generic")}/mpo-relay-test:mpo-relay-test`],
  ])("%s", async (_what, [name = "", ...args], image) => {
    const { exitCode, out } = await send(name, ...args);
    expect({ exitCode, ...asJson(out) }).toMatchObject({ exitCode: 0, decision: "queued", image });
  });

  it.each([
    ["left out by the source", ["narrow", "--module", "other", "--tag", "main"], "200 skipped, OTHER_MODULE", "leave it out"],
    ["of another source", ["harbor", "--source", "virtual"], "200 skipped, OTHER_MODULE", "leave it out"],
    ["of build tools", ["harbor", "--tag", `sha256-${"0".repeat(64)}.sig`], "200 skipped, NOISE_TAG", "noise: keep"],
  ])("a push %s: 1, and why", async (_what, [name = "", ...args], said, advice) => {
    const { exitCode, out, err } = await send(name, ...args);
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: expect.stringContaining(said) });
    expect(err).toContain(advice);
  });

  it("another secret than the relay's: 1, and no secret in what it says", async () => {
    const args = ["send", "harbor", "--config", join(folder, "mine.json"), "--url", relay.url ?? ""];
    const mine = configuration();
    await writeFile(
      join(folder, "mine.json"),
      JSON.stringify({ ...mine, webhooks: { harbor: { provider: "harbor", secret: "env:OTHER" } } }),
    );
    const { exitCode, out, err } = await mpoRelay(args, { OTHER: "not-the-relays-secret" });
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: expect.stringContaining("not authenticated: another secret there") });
    expect(out + err).not.toContain("not-the-relays-secret");
  });

  it("never shows a secret, in the path neither", async () => {
    for (const name of ["quay", "acr-url", "harbor", "zot-basic"]) {
      const { out, err } = await send(name);
      expect(out + err).not.toContain(SECRET);
      expect(out + err).not.toContain(encodeURIComponent(SECRET));
    }
  });

  it("no relay there: 1, without a word of the request", async () => {
    const { exitCode, err } = await mpoRelay(["send", "quay", "--config", config, "--url", nobody], env);
    expect(exitCode).toBe(1);
    expect(err).toContain(`error: no answer from ${nobody}: ECONNREFUSED; nothing listens there`);
  });

  it("the webhook's URL in place of the relay's: 2, with the right one", async () => {
    const { exitCode, err } = await mpoRelay(["send", "quay", "--config", config, "--url", `${nobody}/hooks/quay`], env);
    expect(exitCode).toBe(2);
    expect(err).toContain(`error: --url is the relay's own, without /hooks/quay\nwrite --url ${nobody}`);
  });

  it("a secret that no header can hold: 1, and it is not shown", async () => {
    const { exitCode, err } = await mpoRelay(["send", "other-secret", "--config", config, "--url", relay.url ?? ""], {
      OTHER: "line\nbreak-of-a-secret",
    });
    expect(exitCode).toBe(1);
    expect(err).toContain("characters that no header can hold");
    expect(err).not.toContain("break-of-a-secret");
  });

  it.each([
    [["nope"], 'no webhook "nope" in the configuration; known: distribution, '],
    [["harbor", "--source", "nope"], "no source has the name, repo or alias nope"],
    [["harbor", "--tag", "a/b"], "Not a tag."],
    [["harbor", "--digest", "sha256:12"], "Write sha256: and 64 hex characters."],
    [["gar"], "whose token? Name its variable: --id-token-env"],
    [["gar", "--id-token-env", "UNSET"], "the secret env:UNSET is not set"],
  ])("%j is a wrong call: 2", async ([name = "", ...args], text) => {
    expect(await send(name, ...args)).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining(text) });
  });

  it.each([
    "relay.example.com",
    "ftp://relay.example.com",
    "https://relay.example.com/?a=b",
    "https://relay.example.com/$(id)",
    "https://u:p@relay.example.com",
  ])("does not take the URL %s", async (url) => {
    expect((await mpoRelay(["send", "harbor", "--config", config, "--url", url])).exitCode).toBe(2);
  });
});

/** What a consumer would write into the relay's journal, one step at each pause. */
function consumer(...steps: readonly (readonly [Stage, Detail?])[]) {
  const journal = openSqliteJournal(join(folder, "data"), { create: false });
  const left = [...steps];
  const pause = async () => {
    const [step] = left.splice(0, 1);
    const [newest] = await journal.read({ limit: 1 });
    if (!step || !newest) return;
    const [stage, detail = {}] = step;
    const { last: _last, times: _times, ...entry } = newest;
    await journal.append([{ ...entry, stage, detail, at: new Date().toISOString() }]);
  };
  return { pause, close: () => journal.close(), left };
}

/** `error`: what the command failed with; null where it did not. */
async function command(create: (terminal: Terminal) => Command, args: readonly string[]) {
  const { out, err, failure } = await runCommand(create, args, { env });
  return { out, err, error: failure?.message ?? null };
}

describe("a push is followed to its end", () => {
  const image = "generic.example.com:8443/deckhouse/modules/echo";
  const announced = (webhook: string, ...args: string[]) => [
    "--url",
    `${relay.url}/hooks/${webhook}`,
    "--image",
    image,
    "--tag",
    "main",
    "--wait",
    ...args,
  ];
  const signed = () => announced("generic", "--secret-file", join(folder, "secret"));

  it("by announce, green when Deckhouse runs it, with a signature, a token and a job's token", async () => {
    for (const proof of [
      signed(),
      announced("generic-token", "--token-file", join(folder, "secret")),
      announced("generic-oidc", "--id-token-env", "JOB"),
    ]) {
      const { pause, close } = consumer(["NUDGED"], ["PICKED_UP"]);
      const { out, err, error } = await command((terminal) => announceCommand(terminal, pause), proof);
      await close();
      expect(error).toBeNull();
      expect(err.split("\n").map((line) => line.split(",")[0])).toEqual(["dev: QUEUED", "dev: NUDGED", "dev: PICKED_UP"]);
      expect(out).toContain("done in every cluster");
    }
  });

  it.each([
    ["Deckhouse's reason", [["NUDGED"], ["REFUSED", { message: "The module disabled" }]], "dev: REFUSED: The module disabled"],
    ["what a dead letter says", [["FORBIDDEN", { why: "no right", buried: true }]], "dev: FORBIDDEN: no right"],
    ["that a later push took over", [["SUPERSEDED"]], "dev: SUPERSEDED, a later push took over"],
    ["where it stands when the time is over", [["NUDGED"]], "(the time is over, it goes on)"],
  ] as const)("by announce, red with %s", async (_what, steps, text) => {
    const { pause, close } = consumer(...steps);
    const { out, error } = await command((terminal) => announceCommand(terminal, pause), [...signed(), "--json", "--timeout", "5s"]);
    await close();
    expect(error).toContain(text);
    expect(JSON.parse(out)).toMatchObject({ decision: "queued", clusters: [{ cluster: "dev" }] });
  });

  it("by announce: a relay that does not know it, or no longer lets us ask, is told", async () => {
    const answers = (status: number) => {
      const server = createServer((request, response) => {
        const isPush = request.method === "POST";
        response.writeHead(isPush ? 202 : status).end(isPush ? JSON.stringify({ decision: "queued", key: "k" }) : "");
      });
      return new Promise<{ url: string; close(): void }>((done) =>
        server.listen(0, "127.0.0.1", () => {
          const address = server.address();
          done({ url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/hooks/ci`, close: () => server.close() });
        }),
      );
    };
    for (const [status, text] of [
      [404, "cannot say what became of the push k"],
      [401, "does not let us ask"],
      [503, "nobody said in time"],
    ] as const) {
      const { url, close } = await answers(status);
      const args = ["--url", url, "--image", image, "--tag", "main", "--wait", "--secret-file", join(folder, "secret"), "--timeout", "9s"];
      const { error } = await command((terminal) => announceCommand(terminal, async () => {}), args);
      close();
      expect(error).toContain(text);
    }
  });

  it("by send, which tells where it ended", async () => {
    const { pause, close } = consumer(["NOT_OVERRIDDEN"]);
    const { out, error } = await command(
      (terminal) => sendCommand(terminal, pause),
      ["quay", "--config", config, "--url", relay.url ?? ""],
    );
    await close();
    expect(error).toBeNull();
    expect(out).toContain("dev: NOT_OVERRIDDEN, no override of this module there");
    expect(out).toContain("all of it works");
  });

  it("is shown by history: in a table, by key, as JSON, and those alone that failed", async () => {
    const { pause, close } = consumer(["NUDGED"], ["REFUSED", { message: "The module disabled" }]);
    const args = [...announced("generic", "--secret-file", join(folder, "secret")), "--json"];
    const { key } = asJson((await command((terminal) => announceCommand(terminal, pause), args)).out);
    await close();
    const history = (...more: string[]) => mpoRelay(["history", "--config", config, ...more], env, new Date());
    expect((await history("echo", "--cluster", "dev")).out).toMatch(new RegExp(`echo:main +dev +REFUSED .*${key} +The module disabled`));
    const stages = (await history("--key", key ?? "")).out;
    expect(stages).toMatch(/QUEUED[\s\S]*NUDGED[\s\S]*REFUSED +message The module disabled/);
    const failed = (await history("--failed", "--json")).out
      .split("\n")
      .map((line) => z.object({ key: z.string(), state: z.string() }).parse(JSON.parse(line)));
    expect(failed.map((each) => each.key)).toContain(key);
    expect(new Set(failed.map(({ state }) => state))).toEqual(new Set(["failed"]));
    expect((await history("nothing")).out).toMatch(/^no push in the last 24 h \(looked at: /);
    expect(await history("--cluster", "nowhere")).toMatchObject({ exitCode: 2, err: expect.stringContaining("known: dev") });
  });

  it("is told by history --follow, each new stage once", async () => {
    const stop = new AbortController();
    const told: string[] = [];
    const terminal: Terminal = { out: (text) => void told.push(text), err: () => {}, env, now: () => new Date() };
    const following = historyCommand(terminal, stop.signal).parseAsync(["--config", config, "--follow", "--json"], { from: "user" });
    const { pause, close } = consumer(["NUDGED"], ["PICKED_UP"]);
    const { out } = await command((each) => announceCommand(each, pause), [...signed(), "--json"]);
    const { key } = asJson(out);
    const ours = () =>
      told.map((line) => z.object({ key: z.string(), stage: z.string() }).parse(JSON.parse(line))).filter((each) => each.key === key);
    await until(() => ours().length).toBe(3);
    stop.abort();
    await following;
    await close();
    expect(
      ours()
        .map(({ stage }) => stage)
        .toSorted(),
    ).toEqual(["NUDGED", "PICKED_UP", "QUEUED"]);
  });
});

describe("announce", () => {
  const image = "generic.example.com:8443/deckhouse/modules/echo";
  const announce = (webhook: string, ...args: readonly string[]) =>
    mpoRelay(["announce", "--url", `${relay.url}/hooks/${webhook}`, "--image", image, "--tag", "main", ...args], env, new Date());

  it("signs with a secret", async () => {
    const { exitCode, out } = await announce("generic", "--secret-file", join(folder, "secret"), "--digest", digest, "--json");
    expect({ exitCode, ...asJson(out) }).toMatchObject({ exitCode: 0, image: `${image}:main`, digest, decision: "queued", attempts: 1 });
  });

  it("brings a token, of a file or of the job", async () => {
    const byFile = await announce("generic-token", "--token-file", join(folder, "secret"));
    expect(byFile).toMatchObject({ exitCode: 0, out: expect.stringMatching(`^${image}:main announced: 202 queued, key [0-9a-f]{32}$`) });
    expect(await announce("generic-oidc", "--id-token-env", "JOB")).toMatchObject({ exitCode: 0 });
  });

  it("finds its credential in the variables", async () => {
    const call = ["announce", "--url", `${relay.url}/hooks/generic`, "--image", image, "--tag", "main"];
    expect(await mpoRelay(call, { MPO_RELAY_SECRET: SECRET }, new Date())).toMatchObject({ exitCode: 0 });
    expect(await mpoRelay([...call, "--url", `${relay.url}/hooks/generic-token`], { MPO_RELAY_TOKEN: SECRET })).toMatchObject({
      exitCode: 0,
    });
  });

  it("is refused with a wrong one: 1, at once", async () => {
    const { exitCode, err } = await mpoRelay(["announce", "--url", `${relay.url}/hooks/generic-token`, "--image", image, "--tag", "main"], {
      MPO_RELAY_TOKEN: "wrong-token",
    });
    expect(exitCode).toBe(1);
    expect(err).toContain("not authenticated");
    expect(err).not.toContain("wrong-token");
  });

  it("says what the relay does not take: 1", async () => {
    const { exitCode, out, err } = await mpoRelay(
      ["announce", "--url", `${relay.url}/hooks/generic-token`, "--image", "elsewhere.example.com/x/y", "--tag", "main"],
      { MPO_RELAY_TOKEN: SECRET },
    );
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: expect.stringContaining("200 skipped, OTHER_REPOSITORY") });
    expect(err).toContain("below no source");
  });

  it.each([
    [[], "no credential"],
    [["--id-token-env", "JOB", "--token-file", "f"], "more than one credential"],
    [["--token-file", "/nowhere"], "the secret file:/nowhere cannot be read (ENOENT)"],
    [["--image", `${image}:main`], "the tag goes into --tag"],
  ])("%j is a wrong call: 2", async (args, text) => {
    expect(await announce("generic", ...args)).toMatchObject({ exitCode: 2, err: expect.stringContaining(text) });
  });

  describe("while the relay is away", () => {
    let close: () => Promise<void> = async () => {};
    afterEach(() => close());

    /** Answers with each in turn, the last one for good. */
    async function serverWith(...replies: readonly { status: number; headers?: Record<string, string> }[]) {
      const bodies: string[] = [];
      const ids: unknown[] = [];
      const listener: RequestListener = (request, response) => {
        const { status, headers } = replies[Math.min(bodies.length, replies.length - 1)] ?? { status: 500 };
        let body = "";
        request.on("data", (chunk: Buffer) => (body += chunk.toString()));
        request.on("end", () => {
          bodies.push(body);
          ids.push(request.headers["webhook-id"]);
          response.writeHead(status, headers).end(status === 202 ? JSON.stringify({ decision: "queued", key: "k" }) : "<html>");
        });
      };
      const server = createServer(listener);
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      close = () => new Promise((done) => server.close(() => done()));
      const address = server.address();
      return { url: `http://127.0.0.1:${isAddress(address) ? address.port : 0}/hooks/ci`, bodies, ids };
    }
    const isAddress = (address: AddressInfo | string | null): address is AddressInfo => typeof address === "object" && address !== null;

    /** On a clock of its own, which only waiting moves. */
    async function persist(url: string) {
      let ms = Date.parse("2026-06-01T12:00:00Z");
      const pauses: number[] = [];
      const said: string[] = [];
      const terminal = {
        out: (text: string) => void said.push(text),
        err: () => undefined,
        env: { MPO_RELAY_SECRET: SECRET },
        now: () => new Date(ms),
      };
      const command = announceCommand(terminal, async (pause) => {
        pauses.push(pause);
        ms += pause;
      });
      const error: unknown = await command.parseAsync(["--url", url, "--image", image, "--tag", "main", "--json"], { from: "user" }).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      return { pauses, said, exitCode: error instanceof Failure ? error.exitCode : error };
    }

    it("tries again with the same id, waits as it is asked to, and ends well", async () => {
      const { url, bodies, ids } = await serverWith(
        { status: 503, headers: { "retry-after": "5" } },
        { status: 429 },
        { status: 502 },
        { status: 202 },
      );
      const { pauses, said, exitCode } = await persist(url);
      expect({ exitCode, pauses }).toEqual({ exitCode: null, pauses: [5000, 2000, 4000] });
      expect(asJson(said[0] ?? "")).toMatchObject({ decision: "queued", attempts: 4 });
      expect(new Set(bodies).size).toBe(1);
      expect(new Set(ids).size).toBe(1);
    });

    it("gives up within two minutes: 1", async () => {
      const { url, bodies } = await serverWith({ status: 503 });
      const { pauses, exitCode } = await persist(url);
      expect(exitCode).toBe(1);
      expect(pauses).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
      expect(bodies).toHaveLength(8);
    });

    it("does not wait for an hour because it is told to", async () => {
      const { url } = await serverWith({ status: 429, headers: { "retry-after": "3600" } });
      expect(await persist(url)).toMatchObject({ exitCode: 1, pauses: [] });
    });

    it("tries again where nobody answers", async () => {
      const { exitCode, pauses } = await persist(`${nobody}/hooks/ci`);
      expect(exitCode).toBe(1);
      expect(pauses).toHaveLength(7);
    });

    it("follows no redirect, which would take the credential elsewhere", async () => {
      const { url, bodies } = await serverWith({ status: 307, headers: { location: "/elsewhere" } });
      expect(await persist(url)).toMatchObject({ exitCode: 1, pauses: [] });
      expect(bodies).toHaveLength(1);
    });
  });
});

describe("infra/ci", () => {
  const root = join(import.meta.dirname, "..");
  const read = async (path: string): Promise<unknown> => parse(await readFile(join(root, path), "utf8"));
  const parses = (shell: string, script: string) => spawnSync(shell, ["-n", "-c", script], { encoding: "utf8" });

  it("GitLab's job asks for a token of the webhook's audience, and its script is one", async () => {
    const job = z.object({
      id_tokens: z.record(z.string(), z.object({ aud: z.string() })),
      variables: z.record(z.string(), z.string()),
      script: z.tuple([z.string()]),
    });
    const { ".mpo-relay-announce": announce } = z.object({ ".mpo-relay-announce": job }).parse(await read("infra/ci/gitlab.yml"));
    expect(announce.id_tokens).toEqual({ MPO_RELAY_ID_TOKEN: { aud: "$MPO_RELAY_AUDIENCE" } });
    expect(announce.variables["MPO_RELAY_AUDIENCE"]).toBe("mpo-relay");
    expect(parses("sh", announce.script[0])).toMatchObject({ status: 0, stderr: "" });
  });

  it("GitHub's action hands each input to its script as a variable, and none as a part of it", async () => {
    const step = z.object({ env: z.record(z.string(), z.string()), run: z.string() });
    const action = z.object({
      inputs: z.record(z.string(), z.unknown()),
      runs: z.object({ using: z.literal("composite"), steps: z.tuple([step]) }),
    });
    const { inputs, runs } = action.parse(await read("infra/ci/github/action.yml"));
    const [{ env: variables, run }] = runs.steps;
    expect(run).not.toContain("${{");
    expect(Object.values(variables).toSorted()).toEqual(
      Object.keys(inputs)
        .map((name) => `\${{ inputs.${name} }}`)
        .toSorted(),
    );
    for (const name of Object.keys(variables)) expect(run).toMatch(new RegExp(`\\$\\{?${name}\\b|\\(\\(.*\\b${name}\\b`));
    expect(parses("bash", run)).toMatchObject({ status: 0, stderr: "" });
  });

  /** Runs a script as the CI does, while a consumer writes how the push ends. */
  async function inCi(shell: readonly string[], script: string, variables: NodeJS.ProcessEnv, end: readonly [Stage, Detail?]) {
    const [program = "sh", ...args] = shell;
    const running = spawn(program, [...args, script], { env: { PATH: process.env["PATH"], ...variables } });
    let said = "";
    running.stdout.on("data", (text: Buffer) => (said += text.toString()));
    running.stderr.on("data", (text: Buffer) => (said += text.toString()));
    const status = new Promise<number | null>((done) => running.on("close", done));
    await until(() => said).toContain('"decision":"queued"');
    const { pause, close } = consumer(["NUDGED"], end);
    await pause();
    await pause();
    await close();
    return { status: await status, said };
  }
  const image = "generic.example.com:8443/deckhouse/modules/echo";

  it("GitLab's job runs, waits, and ends as the push did", { timeout: HEAVY_MS }, async () => {
    const job = z.object({
      ".mpo-relay-announce": z.object({ variables: z.record(z.string(), z.string()), script: z.tuple([z.string()]) }),
    });
    const { variables, script } = job.parse(await read("infra/ci/gitlab.yml"))[".mpo-relay-announce"];
    const url = `${relay.url}/hooks/generic-oidc`;
    const given = {
      ...variables,
      MPO_RELAY_URL: url,
      MPO_RELAY_IMAGE: image,
      MPO_RELAY_TAG: "main",
      MPO_RELAY_WAIT: "30",
      MPO_RELAY_ID_TOKEN: env["JOB"],
    };
    const green = await inCi(["sh", "-c"], script[0], { ...given, CI_JOB_ID: "1" }, ["PICKED_UP"]);
    expect(green.said).toContain('"outcome":"PICKED_UP"');
    expect(green.status).toBe(0);
    const red = await inCi(["sh", "-c"], script[0], { ...given, CI_JOB_ID: "2" }, ["REFUSED", { message: "The module disabled" }]);
    expect(red.said).toContain("The module disabled");
    expect(red.status).toBe(1);
  });

  it(
    "GitHub's action runs, waits, and ends as the push did: with a secret, and with the job's own tokens",
    { timeout: HEAVY_MS },
    async () => {
      const action = z.object({ runs: z.object({ steps: z.tuple([z.object({ run: z.string() })]) }) });
      const { run } = action.parse(await read("infra/ci/github/action.yml")).runs.steps[0];
      const issuer = createServer((request, response) => {
        const isAsked = request.headers.authorization === "Bearer the job" && request.url === "/token?audience=the-relay";
        response.writeHead(isAsked ? 200 : 401).end(JSON.stringify({ value: env["JOB"] }));
      });
      await new Promise<void>((done) => issuer.listen(0, "127.0.0.1", done));
      const address = issuer.address();
      const common = { IMAGE: image, TAG: "main", DIGEST: "", AUDIENCE: "the-relay", TOKEN: "", SECRET: "", WAIT: "30" };
      const job = { GITHUB_RUN_ID: "1", GITHUB_RUN_ATTEMPT: "1", GITHUB_ACTION: "announce" };
      const bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"];
      const secret = { ...common, ...job, URL: `${relay.url}/hooks/generic`, SECRET };
      const green = await inCi(bash, run, secret, ["PICKED_UP"]);
      expect(green).toMatchObject({ status: 0, said: expect.stringContaining('"outcome": "PICKED_UP"') });
      const tokens = {
        ...common,
        ...job,
        URL: `${relay.url}/hooks/generic-oidc`,
        ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/token`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: "the job",
      };
      const red = await inCi(bash, run, tokens, ["REFUSED", { message: "The module disabled" }]);
      issuer.close();
      expect(red).toMatchObject({ status: 1, said: expect.stringContaining("::error::dev: REFUSED The module disabled") });
    },
  );
});
