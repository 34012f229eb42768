/** What `webhook` prints is run, or parsed, as whoever pastes it would: shells with stand-ins for the vendors' tools, files by their formats. */
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, type ScalarTag } from "yaml";
import { authenticate } from "../src/auth.ts";
import { plainSetup } from "../src/cli/setup/plain.ts";
import { providerNames, providers } from "../src/providers/index.ts";
import type { AuthScheme } from "../src/providers/provider.ts";
import { SECRET as PLACEHOLDER } from "../src/cli/setup/setup.ts";
import { mpoRelay } from "./support/cli.ts";
import { check as checkTemplate, templateSchema } from "./support/cloudformation.ts";

const SECRET = "r0123456789abcdef0123456789abcdef";
const URL = "https://relay.example.com";
const HOSTS: Readonly<Record<string, string>> = {
  ghcr: "ghcr.io/acme",
  acr: "modules.azurecr.io",
  eventgrid: "modules.azurecr.io",
  gar: "europe-west3-docker.pkg.dev/modules-project",
  ecr: "210987654321.dkr.ecr.eu-central-1.amazonaws.com",
  yandex: "cr.yandex/crp0a1b2c3d4e5f6g7h8",
};
const oidc = { issuer: "https://gitlab.example.com", audience: "the-relay", subject: "project_path:modules/*:*" };
const google = { audience: "the-relay", email: "push@modules-project.iam.gserviceaccount.com" };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "webhook's-")); // a quote in the path, for the shells
  await writeFile(join(folder, "hook.secret"), `${SECRET}\n`, { mode: 0o600 });
});
afterAll(async () => rm(folder, { recursive: true }));

type Hook = Readonly<Record<string, unknown>>;
async function configOf(hook: Hook, sources: readonly Hook[]): Promise<string> {
  const file = join(folder, "relay.json");
  await writeFile(file, JSON.stringify({ webhooks: { hook }, sources, clusters: { dev: { queue: "embedded:" } } }));
  return file;
}

async function webhook(hook: Hook, sources: readonly Hook[], args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  return mpoRelay(["webhook", "hook", "--config", await configOf(hook, sources), "--url", URL, ...args], env);
}

const TOOLS = ["curl", "gh", "az", "gcloud", "aws", "yc", "kubectl", "crane", "jq", "openssl", "mpo-relay"];
/** Writes down its arguments and what comes on stdin. crane is asked for the modules of a source. */
const STAND_IN = `#!/bin/sh
call=$(mktemp "$CALLS/\${0##*/}.XXXXXX")
for argument; do printf '%s\\n' "$argument"; done > "$call.args"
env | grep '^MPO_RELAY_' > "$call.env" || :
case "$*" in *@-*|*"--input -"*) cat > "$call.stdin" ;; esac
case \${0##*/} in crane) echo echo; echo parca ;; jq) cat > /dev/null; echo of-jq ;; openssl) cat > /dev/null < /dev/null; echo of-openssl ;; esac
`;

/** Runs a text as pasted, and tells which tools were called with what. */
async function paste(text: string, env: NodeJS.ProcessEnv = {}) {
  const place = await mkdtemp(join(folder, "paste-"));
  const [bin, calls] = [join(place, "bin"), join(place, "calls")];
  await Promise.all([mkdir(bin), mkdir(calls)]);
  for (const tool of TOOLS) {
    await writeFile(join(bin, tool), STAND_IN);
    await chmod(join(bin, tool), 0o755);
  }
  const path = `${bin}${delimiter}${process.env["PATH"]}`;
  const { status, stderr } = spawnSync("sh", ["-eu", "-c", text], {
    cwd: place,
    env: { ...env, PATH: path, CALLS: calls },
    encoding: "utf8",
    input: "",
  });
  const files = (await readdir(calls)).toSorted();
  const read = async (end: string) =>
    Promise.all(files.filter((file) => file.endsWith(end)).map((file) => readFile(join(calls, file), "utf8")));
  const [args, stdin, variables] = await Promise.all([".args", ".stdin", ".env"].map(read));
  const written = (await readdir(place, { withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = await Promise.all(written.map(({ name }) => readFile(join(place, name), "utf8")));
  return { status, stderr, args: args ?? [], stdin: stdin ?? [], written: texts, variables: variables ?? [] };
}

const CREDENTIALS = Object.fromEntries(
  [
    "HARBOR_PASSWORD",
    "NEXUS_PASSWORD",
    "JFROG_TOKEN",
    "GITEA_TOKEN",
    "FORGEJO_TOKEN",
    "QUAY_TOKEN",
    "SERVICE_ACCOUNT",
    "QUEUE",
    "TOKEN",
  ].map((name) => [name, `of-${name}`]),
);
const ENVIRONMENT = { ...CREDENTIALS, NEXUS_URL: "https://nexus.example.com" };

/** The parts that are printed, without the lines for people. */
function partsOf(out: string): { where: string; text: string }[] {
  return out.split(/^(?=# )/m).flatMap((part) => {
    const [where = "", ...text] = part.split("\n");
    return text.join("\n").trim() === "" ? [] : [{ where, text: text.join("\n") }];
  });
}

const hooks = providerNames.flatMap((name) => (providers[name]?.auth ?? []).map(({ kind }) => ({ name, kind })));

describe.each(hooks)("$name by $kind", ({ name, kind }) => {
  const secret = { secret: "file:hook.secret" };
  const hook = { provider: name, auth: kind, ...(kind !== "oidc" ? secret : { oidc: name === "gar" ? google : oidc }) };
  const sources = [{ repo: `${HOSTS[name] ?? `${name}.example.com:8443`}/deckhouse/modules` }];

  it("is told how far it was tried, where its page is, and shows no secret", async () => {
    const { exitCode, out, err } = await webhook(hook, sources);
    expect({ exitCode, out }).toEqual({
      exitCode: 0,
      out: expect.stringContaining(`infra/registries/${name}.md\n# `),
    });
    expect(out).toContain("/hooks/hook");
    expect(out + err).not.toContain(SECRET);
    expect(out).not.toMatch(/undefined|\[object/);
    expect(err).toContain(`next: mpo-relay send hook --config ${join(folder, "relay.json")} --url ${URL}`);
  });

  it("shows it where one asks for it", async () => {
    const { out } = await webhook(hook, sources, ["--show-secret"]);
    expect(out).not.toContain("PASTE-THE-SECRET-HERE");
    expect(out.includes(SECRET)).toBe(kind !== "oidc");
  });

  it("pastes into a shell that gives the tools what they need", async () => {
    const { out } = await webhook(hook, sources);
    const ofShell = partsOf(out).filter(({ text }) => /^(?:SECRET=|curl |gh |az |PROJECT=|body=|# TOKEN)/m.test(text));
    for (const { where, text } of ofShell) {
      const { status, stderr, args, stdin, written, variables } = await paste(text, ENVIRONMENT);
      expect({ where, status, stderr }).toEqual({ where, status: 0, stderr: "" });
      expect(args.length, where).toBeGreaterThan(0);
      const all = [...args, ...stdin, ...written, ...variables].join("\n");
      if (!text.includes("kubectl")) expect(all).toContain(`${URL}/hooks/hook`);
      if (text.includes("$SECRET") && !text.includes("openssl")) expect(all).toContain(SECRET);
      for (const body of stdin) expect(JSON.parse(body)).toBeTypeOf("object");
    }
  });
});

describe("files", () => {
  const hook = (provider: string, more: Hook = {}) => ({ provider, secret: "file:hook.secret", ...more });
  const sources = [{ repo: "registry.example.com/deckhouse/modules" }];

  it("Distribution's is its configuration, with what to ignore before all else", async () => {
    const { out } = await webhook(hook("distribution"), sources, ["--show-secret"]);
    const { notifications } = parse(out) ?? {};
    const [endpoint] = notifications.endpoints;
    expect(endpoint).toMatchObject({
      url: `${URL}/hooks/hook`,
      headers: { Authorization: [`Bearer ${SECRET}`] },
      ignore: { mediatypes: ["application/octet-stream"], actions: ["pull"] },
    });
    expect(Object.keys(endpoint)[1]).toBe("ignore");
  });

  it("GitLab's are Ruby, and YAML for its chart beside a secret", async () => {
    const [ruby, kubectl, values] = partsOf((await webhook(hook("gitlab"), sources, ["--show-secret"])).out);
    expect(ruby?.text).toMatch(/^registry\['notifications'\] = \[\n {2}\{\n {4}'name' => 'mpo-relay',\n {4}'ignore' =>/);
    expect(ruby?.text).toContain(`'headers' => { 'Authorization' => ['${SECRET}'] }`);
    expect(kubectl?.text).toContain("kubectl create secret generic mpo-relay-webhook");
    const [endpoint] = parse(values?.text ?? "").global.registry.notifications.endpoints;
    expect(endpoint).toMatchObject({
      url: `${URL}/hooks/hook`,
      headers: { Authorization: { secret: "mpo-relay-webhook", key: "Authorization" } },
    });
  });

  it.each([
    [{}, { token: SECRET }],
    [
      { auth: "basic", username: "me" },
      { username: "me", password: SECRET },
    ],
  ])("zot's is JSON, with %j", async (more, credentials) => {
    const [part] = partsOf((await webhook(hook("zot", { host: "registry.example.com", ...more }), sources, ["--show-secret"])).out);
    const { extensions } = JSON.parse(part?.text ?? "");
    expect(extensions.events).toEqual({
      enable: true,
      sinks: [{ type: "http", address: `${URL}/hooks/hook`, timeout: "5s", credentials }],
    });
  });

  it.each([{}, { auth: "basic", username: "me" }])("ECR's is a template that CloudFormation takes, with %j", async (more) => {
    const ecr = [
      { repo: "210987654321.dkr.ecr.eu-central-1.amazonaws.com/deckhouse/modules" },
      { repo: "210987654321.dkr.ecr.eu-central-1.amazonaws.com/m" },
    ];
    const [part] = partsOf((await webhook(hook("ecr", more), ecr)).out);
    const { args, written } = await paste(part?.text ?? "");
    expect(args[0]).toContain(`RelaySecret=${SECRET}`);
    const [text = ""] = written;
    expect(text).not.toContain(SECRET);
    const tag = (name: string, to: (value: string) => unknown): ScalarTag => ({ tag: `!${name}`, resolve: to });
    const customTags = [
      tag("Ref", (Ref) => ({ Ref })),
      tag("Sub", (text) => ({ "Fn::Sub": text })),
      tag("GetAtt", (path) => ({ "Fn::GetAtt": path.split(".") })),
    ];
    const { problems, values } = await checkTemplate(templateSchema.parse(parse(text, { customTags })));
    expect(problems).toEqual([]);
    expect(values).toBeGreaterThan(15);
    expect(text).toContain("repository-name: [{ prefix: deckhouse/modules/ }, { prefix: m/ }]");
  });
});

describe("all projects of a source at once", () => {
  const run = async (provider: string, sources: readonly Hook[], args: readonly string[] = [], more: Hook = {}) => {
    const { out } = await webhook({ provider, secret: "file:hook.secret", ...more }, sources, args);
    const [part] = partsOf(out);
    return paste(part?.text ?? "", ENVIRONMENT);
  };
  const two = (host: string) => [
    { repo: `${host}/deckhouse/modules` },
    { repo: `${host}/other/modules` },
    { repo: `${host}/deckhouse/more` },
  ];

  it("Harbor: a policy for each project", async () => {
    const { args, stdin } = await run("harbor", two("harbor.example.com"));
    expect(args.flatMap((each) => /projects\/(\w+)\//.exec(each)?.[1] ?? []).toSorted()).toEqual(["deckhouse", "other"]);
    expect(args[0]).toContain("admin:of-HARBOR_PASSWORD");
    expect(JSON.parse(stdin[0] ?? "")).toMatchObject({
      event_types: ["PUSH_ARTIFACT"],
      targets: [{ type: "http", address: `${URL}/hooks/hook`, auth_header: SECRET }],
    });
  });

  it.each(["gitea", "forgejo"])("%s: a hook of its own type for each owner", async (provider) => {
    const { args, stdin } = await run(provider, two("git.example.com"));
    expect(args.flatMap((each) => /orgs\/(\w+)\/hooks/.exec(each)?.[1] ?? []).toSorted()).toEqual(["deckhouse", "other"]);
    expect(JSON.parse(stdin[0] ?? "")).toMatchObject({
      type: provider,
      events: ["package"],
      config: { url: `${URL}/hooks/hook`, content_type: "json", secret: SECRET },
    });
  });

  it("GitHub: a hook for each organisation, at its own server", async () => {
    const { args, stdin } = await run("ghcr", two("containers.github.example.com"));
    expect(args).toHaveLength(2);
    expect(args.toSorted()[0]).toBe("api\n--hostname\ngithub.example.com\norgs/deckhouse/hooks\n--input\n-\n");
    expect(JSON.parse(stdin[0] ?? "")).toMatchObject({ name: "web", events: ["package"], config: { secret: SECRET } });
  });

  it.each([
    ["those that the source lists", [{ repo: "quay.example.com/deckhouse/modules" }], ["echo", "parca"]],
    ["those that the configuration names", [{ repo: "quay.example.com/deckhouse/modules", modules: ["one", "two"] }], ["one", "two"]],
  ])("Quay: a notification for each module, %s", async (_what, sources, modules) => {
    const { args, stdin } = await run("quay", sources);
    expect(args.flatMap((each) => /modules\/(\w+)\/notification/.exec(each)?.[1] ?? []).toSorted()).toEqual(modules);
    expect(JSON.parse(stdin[0] ?? "")).toMatchObject({ event: "repo_push", config: { url: `${URL}/hooks/hook/${SECRET}` } });
  });

  it.each([
    ["hmac", true],
    ["token", false],
  ])("Artifactory by %s: signing %s, its repositories and paths", async (auth, signs) => {
    const { stdin } = await run("artifactory", [{ repo: "jfrog.example.com/docker-local/deckhouse/modules" }], [], { auth });
    expect(JSON.parse(stdin[0] ?? "")).toMatchObject({
      event_filter: {
        domain: "docker",
        event_types: ["pushed"],
        criteria: { repoKeys: ["docker-local"], includePatterns: ["deckhouse/modules/**"] },
      },
      handlers: [{ secret: SECRET, use_secret_for_signing: signs }],
    });
  });

  it("an administrator's credentials go to one registry: which of several, one must say", async () => {
    const sources = [
      { repo: "one.example.com/a/m", name: "one" },
      { repo: "two.example.com/b/m", name: "two" },
      { repo: "ghcr.io/acme/m" },
    ];
    const hook = { provider: "harbor", secret: "file:hook.secret" };
    const unsaid = await webhook(hook, sources);
    expect(unsaid).toMatchObject({
      exitCode: 2,
      out: "",
      err: expect.stringContaining("the sources lie at one.example.com, two.example.com: which of them is this registry?"),
    });
    for (const said of [await webhook(hook, sources, ["--source", "two"]), await webhook({ ...hook, sources: ["two"] }, sources)]) {
      expect(said).toMatchObject({ exitCode: 0, out: expect.stringContaining("https://two.example.com/api") });
      expect(said.out).not.toMatch(/one\.example\.com|ghcr/);
    }
  });
});

describe("a new secret", () => {
  const sources = [{ repo: "registry.example.com/m" }];
  const fresh = (name: string, provider = "harbor") => ({ provider, secret: `file:${name}` });

  it("is strong, is in the file alone, and can be read by its owner alone", async () => {
    const { exitCode, out, err } = await webhook(fresh("fresh.secret"), sources, ["--new-secret"]);
    expect(exitCode).toBe(0);
    const secret = (await readFile(join(folder, "fresh.secret"), "utf8")).trimEnd();
    expect(secret).toMatch(/^r[0-9a-f]{64}$/);
    expect((await stat(join(folder, "fresh.secret"))).mode & 0o777).toBe(0o600);
    expect(out + err).not.toContain(secret);
    expect(err).toContain("a new secret is in ");
    expect((await webhook(fresh("other.secret"), sources, ["--new-secret"])).exitCode).toBe(0);
    expect(await readFile(join(folder, "other.secret"), "utf8")).not.toContain(secret);
  });

  it("is of the form that Standard Webhooks has, and is shown together with --show-secret", async () => {
    const { out } = await webhook(fresh("ci.secret", "generic"), sources, ["--new-secret", "--show-secret"]);
    const secret = (await readFile(join(folder, "ci.secret"), "utf8")).trimEnd();
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(out).toContain(`SECRET=${secret}\n`);
  });

  it("takes the place of another only by --force", async () => {
    await writeFile(join(folder, "old.secret"), "the-old-one\n", { mode: 0o644 });
    const refused = await webhook(fresh("old.secret"), sources, ["--new-secret"]);
    expect(refused).toMatchObject({
      exitCode: 2,
      out: "",
      err: expect.stringMatching(/there is a secret in \S+ already\nkeep it as previousSecret/),
    });
    expect(await readFile(join(folder, "old.secret"), "utf8")).toBe("the-old-one\n");
    expect(await webhook(fresh("old.secret"), sources, ["--new-secret", "--force"])).toMatchObject({ exitCode: 0 });
    expect(await readFile(join(folder, "old.secret"), "utf8")).toMatch(/^r[0-9a-f]{64}\n$/);
    expect((await stat(join(folder, "old.secret"))).mode & 0o777).toBe(0o600);
    expect((await readdir(folder)).filter((file) => file.endsWith(".new"))).toEqual([]);
  });

  it("in a variable is for whoever starts the relay", async () => {
    const { exitCode, out, err } = await webhook({ provider: "harbor", secret: "env:HOOK" }, sources, ["--new-secret"]);
    expect(exitCode).toBe(0);
    expect(err).toContain('export HOOK="r$(openssl rand -hex 32)"');
    expect(out).toContain("SECRET=${HOOK:?}");
  });

  it.each([
    ["where tokens of an issuer count", { provider: "gar", oidc: google }, ["--new-secret"], "need no secret"],
    ["where the configuration has none", { provider: "harbor", insecure: true }, [], "has no secret (insecure: true)"],
    [
      "in a folder that is not there",
      { provider: "harbor", secret: "file:no/such.secret" },
      ["--new-secret"],
      "cannot write the secret: ENOENT",
    ],
    ["shown, that is not there", { provider: "harbor", secret: "env:UNSET" }, ["--show-secret"], "the secret env:UNSET is not set"],
  ])("%s: 2", async (_what, hook, args, text) => {
    expect(await webhook(hook, sources, args)).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining(text) });
  });

  it("shown, that would have to be quoted: 2, and it is not shown", async () => {
    const { exitCode, out, err } = await webhook({ provider: "harbor", secret: "env:ODD" }, sources, ["--show-secret"], {
      ODD: 'it\'s "odd"',
    });
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toContain("characters that must be quoted");
    expect(err).not.toContain('odd"');
  });
});

it("a webhook that nobody configured: 2", async () => {
  const config = await configOf({ provider: "harbor", secret: "file:hook.secret" }, [{ repo: "registry.example.com/m" }]);
  const { exitCode, err } = await mpoRelay(["webhook", "nope", "--config", config, "--url", URL]);
  expect({ exitCode, err }).toEqual({ exitCode: 2, err: 'error: no webhook "nope" in the configuration; known: hook' });
});

describe("a registry without a set-up of its own", () => {
  const schemes = providerNames.flatMap((name) => providers[name]?.auth ?? []);
  const textBy = (scheme: AuthScheme) => {
    const { generic } = providers;
    const setup = plainSetup({ ...(generic ?? expect.fail()), auth: [scheme] });
    const url = `${URL}/hooks/hook`;
    const pastes = setup.paste({ name: "hook", url, auth: scheme.kind, username: null, oidc: null, places: [] });
    return pastes.map(({ text }) => text.replaceAll(PLACEHOLDER, SECRET)).join("\n");
  };
  const row = (text: string, name: string) => new RegExp(`^${name} +(.*)$`, "m").exec(text)?.[1] ?? expect.fail(`${name} in ${text}`);

  it.each([...schemes, { kind: "basic" } as const])("is told what the relay takes: $kind, $header $scheme", (scheme) => {
    const text = textBy(scheme);
    const url = row(text, "URL");
    const unsigned = { headers: {}, rawBody: Buffer.from("{}"), pathSecret: null, now: new Date() };
    const secrets = { current: SECRET, previous: null };
    switch (scheme.kind) {
      case "token": {
        const [name = "", value = ""] = row(text, "Header").split(": ");
        return expect(authenticate(scheme, { ...unsigned, headers: { [name]: value } }, secrets)).toBe("current");
      }
      case "basic": {
        const authorization = `Basic ${Buffer.from(`${row(text, "User name")}:${row(text, "Password")}`).toString("base64")}`;
        return expect(authenticate(scheme, { ...unsigned, headers: { authorization } }, secrets)).toBe("current");
      }
      case "url":
        return expect(authenticate(scheme, { ...unsigned, pathSecret: url.split("/hooks/hook/")[1] ?? null }, secrets)).toBe("current");
      case "hmac":
        expect(row(text, "Signs by")).toMatch(
          new RegExp(`^HMAC-${scheme.hash}.*${scheme.encoding}: ${scheme.header}: ${scheme.prefix ?? ""}…$`, "i"),
        );
        return expect(row(text, "Secret")).toBe(SECRET);
      case "standard-webhooks":
        return expect(row(text, "Secret")).toBe(SECRET);
      case "oidc":
        return expect(row(text, "Header")).toContain("authorization: Bearer");
    }
  });
});
