/** `mpo-relay source` beside crane, on one real registry: the same answers. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import * as z from "zod";
import { OCI_INDEX, OCI_MANIFEST, push, sha256 } from "../support/image.ts";
import { run, temporaryFolder } from "./parts/child.ts";
import { type Crane, openCrane } from "./parts/crane.ts";
import { type RegistryVersion, startRegistry } from "./parts/registry.ts";
import { startTokenIssuer } from "./parts/token-issuer.ts";

const PATH = "deckhouse/modules";
const CLI = join(import.meta.dirname, "../../dist/cli.js");
const answer = z.looseObject({
  tags: z.array(z.string()).default([]),
  modules: z.array(z.string()).default([]),
  releases: z.array(z.string()).default([]),
  digest: z.string().optional(),
  index: z.string().nullable().default(null),
  layers: z.array(z.object({ digest: z.string(), size: z.number() })).default([]),
  files: z.array(z.object({ path: z.string() })).default([]),
  components: z.record(z.string(), z.string()).nullable().default(null),
  channels: z.array(z.object({ channel: z.string(), version: z.string().nullable(), digest: z.string().nullable() })).default([]),
});
const source = async (...args: readonly string[]) =>
  answer.parse(JSON.parse(await run(process.execPath, [CLI, "source", ...args, "--json"])));

let crane: Crane;
beforeAll(async () => {
  crane = await openCrane();
});

/** A module with two layers and a whiteout, two releases in channels, and another module that is only registered. */
async function seed(host: string): Promise<void> {
  const digests = { server: sha256("server"), client: sha256("client") };
  await push(
    host,
    `${PATH}/echo`,
    "main",
    { "module.yaml": "name: old", "docs/": "", "docs/README.md": "1", "docs/gone.md": "1", "hooks/a": "1", "hooks/deep/b": "1" },
    { "module.yaml": "name: echo", "docs/.wh.gone.md": "", ".wh.hooks": "", "images_digests.json": JSON.stringify(digests) },
    { "templates/deployment.yaml": "x".repeat(100_000) },
  );
  for (const [tag, says] of [["v1.1.0", "v1.1.0"] as const, ["stable", "v1.0.0"] as const, ["alpha", "v1.1.0"] as const])
    await push(host, `${PATH}/echo/release`, tag, { "version.json": JSON.stringify({ version: says }) });
  for (const module of ["echo", "hello-world"]) await crane.push(`${host}/${PATH}:${module}`);
}

/** What was seeded, as `as` sees it and as `source` does with these options. */
async function expectSame(repo: string, as: Crane, ...options: readonly string[]): Promise<void> {
  const whole = await source(repo, ...options);
  expect(whole.modules.toSorted()).toEqual(["echo", "hello-world"]);
  expect(whole.tags.toSorted()).toEqual((await as.ls(repo)).toSorted());
  const echo = await source(repo, "echo", ...options);
  expect(echo.tags).toEqual(await as.ls(`${repo}/echo`));
  expect(echo.releases.toSorted()).toEqual((await as.ls(`${repo}/echo/release`)).toSorted());
  const channels = ["alpha", "stable"].map(async (channel) => {
    const { contents } = await as.files(`${repo}/echo/release:${channel}`, "version.json");
    const { version: named } = z.object({ version: z.string() }).parse(JSON.parse(contents[0] ?? ""));
    return { channel, version: named, digest: await as.digest(`${repo}/echo/release:${channel}`) };
  });
  expect(echo.channels.map(({ channel, version: named, digest }) => ({ channel, version: named, digest }))).toEqual(
    await Promise.all(channels),
  );

  const image = await source(repo, "echo:main", ...options);
  const seen = await as.files(`${repo}/echo:main`, "images_digests.json");
  expect(image.files.map(({ path }) => path)).toEqual(seen.paths);
  expect(image.components).toEqual(JSON.parse(seen.contents[0] ?? ""));
  expect(image.digest).toBe(await as.digest(`${repo}/echo:main`));
  const { layers } = z
    .object({ layers: z.array(z.looseObject({ digest: z.string() })) })
    .parse(JSON.parse(await as.manifest(`${repo}/echo:main`)));
  expect(image.layers.map(({ digest }) => digest)).toEqual(layers.map(({ digest }) => digest));
}

test.each<RegistryVersion>(["3.1.2", "2.8.2"])("on Distribution %s crane and the relay see the same", async (version) => {
  const registry = await startRegistry({ hooks: [], version });
  onTestFinished(() => registry.stop());
  await seed(registry.host);
  await expectSame(`${registry.host}/${PATH}`, crane);
});

test("where a token is wanted both see the same with the same login, and nothing without it", async () => {
  const robot = { username: "robot", password: "a-password-of-the-source-scenario" };
  const issuer = await startTokenIssuer(robot);
  onTestFinished(() => issuer.stop());
  const open = await startRegistry({ hooks: [] });
  onTestFinished(() => open.stop());
  const closed = await startRegistry({ hooks: [], token: issuer.auth });
  onTestFinished(() => closed.stop());
  const folder = await temporaryFolder("source");
  onTestFinished(() => folder.remove());
  const repo = `${closed.host}/${PATH}`;
  /** A docker config of its own for each login; gives its folder, and crane with it. */
  const login = async (name: string, password: string) => {
    const at = join(folder.path, name);
    await mkdir(at);
    const auth = Buffer.from(`${robot.username}:${password}`).toString("base64");
    await writeFile(join(at, "config.json"), JSON.stringify({ auths: { [closed.host]: { auth } } }), { mode: 0o600 });
    return { options: ["--docker-config", join(at, "config.json")], crane: await openCrane({ dockerConfig: at }) };
  };
  const right = await login("right", robot.password);
  const wrong = await login("wrong", "not the password");

  await seed(open.host);
  const images = ["/echo:main", "/echo/release:v1.1.0", "/echo/release:stable", "/echo/release:alpha", ":echo", ":hello-world"];
  for (const image of images) await right.crane.copy(`${open.host}/${PATH}${image}`, `${repo}${image}`);
  await expectSame(repo, right.crane, ...right.options);

  await writeFile(join(folder.path, "password"), robot.password, { mode: 0o600 });
  const config = join(folder.path, "relay.yaml");
  const registry = { username: robot.username, password: "file:password", plainHttp: true };
  await writeFile(config, stringify({ sources: [{ repo, name: "mine", registry }], clusters: { dev: { queue: "embedded:./data" } } }));
  const named = await source("mine", "echo", "--config", config);
  expect(named.tags).toEqual(await right.crane.ls(`${repo}/echo`));

  for (const options of [wrong.options, []]) {
    const refused = await source(repo, "echo", ...options).catch(String);
    expect(refused).toContain("failed (1)");
    expect(refused).toMatch(/refuse|401|403/i);
    expect(refused).not.toContain("not the password");
  }
  for (const as of [wrong.crane, crane]) await expect(as.ls(`${repo}/echo`)).rejects.toThrow(/401|UNAUTHORIZED/i);
});

test("an index is followed to linux/amd64, and thousands of tags come in pages", async () => {
  const registry = await startRegistry({ hooks: [] });
  onTestFinished(() => registry.stop());
  const repo = `${registry.host}/${PATH}`;
  const child = await push(registry.host, `${PATH}/echo`, "amd64", { a: "1" });
  const size = Buffer.byteLength(await crane.manifest(`${repo}/echo:amd64`));
  const platform = { os: "linux", architecture: "amd64" };
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [{ mediaType: OCI_MANIFEST, digest: child, size, platform }],
  });
  for (let number = 0; number < 1200; number++) {
    const put = { method: "PUT", body: index, headers: { "content-type": OCI_INDEX } };
    const { status } = await fetch(`http://${registry.host}/v2/${PATH}/echo/manifests/pr${number}`, put);
    expect(status).toBe(201);
  }
  const { tags } = await source(repo, "echo");
  expect(tags).toHaveLength(1201);
  expect(tags.toSorted()).toEqual((await crane.ls(`${repo}/echo`)).toSorted());
  const image = await source(repo, "echo:pr7");
  expect([image.index, image.digest]).toEqual([
    await crane.digest(`${repo}/echo:pr7`),
    await crane.digest(`${repo}/echo:pr7`, "linux/amd64"),
  ]);
});
