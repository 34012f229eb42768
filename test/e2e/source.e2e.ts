/** `mpo-relay source` beside crane, on one real registry: the same answers. */
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { OCI_INDEX, OCI_MANIFEST, push, sha256 } from "../support/image.ts";
import { run } from "./parts/child.ts";
import { type Crane, openCrane } from "./parts/crane.ts";
import { type RegistryVersion, startRegistry } from "./parts/registry.ts";

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

test.each<RegistryVersion>(["3.1.2", "2.8.2"])("on Distribution %s crane and the relay see the same", async (version) => {
  const registry = await startRegistry({ hooks: [], version });
  onTestFinished(() => registry.stop());
  const { host } = registry;
  const repo = `${host}/${PATH}`;
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
  for (const module of ["echo", "hello-world"]) await crane.push(`${repo}:${module}`);

  expect((await source(repo)).tags.toSorted()).toEqual((await crane.ls(repo)).toSorted());
  const echo = await source(repo, "echo");
  expect(echo.tags).toEqual(await crane.ls(`${repo}/echo`));
  expect(echo.releases.toSorted()).toEqual((await crane.ls(`${repo}/echo/release`)).toSorted());
  const channels = ["alpha", "stable"].map(async (channel) => {
    const { contents } = await crane.files(`${repo}/echo/release:${channel}`, "version.json");
    const { version: named } = z.object({ version: z.string() }).parse(JSON.parse(contents[0] ?? ""));
    return { channel, version: named, digest: await crane.digest(`${repo}/echo/release:${channel}`) };
  });
  expect(echo.channels.map(({ channel, version: named, digest }) => ({ channel, version: named, digest }))).toEqual(
    await Promise.all(channels),
  );

  const image = await source(repo, "echo:main");
  const seen = await crane.files(`${repo}/echo:main`, "images_digests.json");
  expect(image.files.map(({ path }) => path)).toEqual(seen.paths);
  expect(image.components).toEqual(JSON.parse(seen.contents[0] ?? ""));
  expect(image.digest).toBe(await crane.digest(`${repo}/echo:main`));
  const { layers } = z
    .object({ layers: z.array(z.looseObject({ digest: z.string() })) })
    .parse(JSON.parse(await crane.manifest(`${repo}/echo:main`)));
  expect(image.layers.map(({ digest }) => digest)).toEqual(layers.map(({ digest }) => digest));
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
