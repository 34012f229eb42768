/** `npm pack`: what is in it, and that it runs from an empty folder. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { run, temporaryFolder } from "./parts/child.ts";
import { install, say } from "./parts/cache.ts";
import { kubectl } from "./parts/kubectl.ts";

const ROOT = join(import.meta.dirname, "../..");
const packed = z.tuple([z.object({ filename: z.string(), size: z.number(), files: z.array(z.object({ path: z.string() })) })]);

test("the package holds the program and its pages, is small, and runs by npx in an empty folder", async () => {
  const folder = await temporaryFolder("package");
  onTestFinished(() => folder.remove());
  // Not built again under other tests that run it.
  const options = ["--json", "--ignore-scripts", "--pack-destination", folder.path];
  const [{ filename, size, files }] = packed.parse(JSON.parse(await run("npm", ["pack", ...options], { cwd: ROOT })));
  const paths = files.map(({ path }) => path);
  say(`${filename}: ${files.length} files, ${Math.round(size / 1000)} kB`);
  expect(paths).toEqual(
    expect.arrayContaining([
      "package.json",
      "README.md",
      "LICENSE",
      "CHANGELOG.md",
      "dist/cli.js",
      "dist/THIRD-PARTY.txt",
      "infra/hub.md",
      "infra/cluster/serve/kustomization.yaml",
    ]),
  );
  expect(paths.filter((path) => /^(?:src|functions|test|dist\/lambda)\/|\.(?:ts|secret|token|crt)$/.test(path))).toEqual([]);
  expect(size).toBeLessThan(1_000_000);

  const empty = join(folder.path, "empty");
  await mkdir(empty);
  await writeFile(join(empty, "package.json"), "{}");
  const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
  await run("npm", ["install", ...quiet, join(folder.path, filename)], { cwd: empty });
  const program = join(await install(kubectl), "kubectl");
  for (const overlay of ["operator", "deckhouse"])
    expect(await run(program, ["kustomize", join(empty, "node_modules/mpo-relay/infra/cluster/monitoring", overlay)])).toContain(
      "PodMonitor",
    );
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")));
  expect((await run("npx", ["mpo-relay", "--version"], { cwd: empty })).trim()).toBe(version);
  await writeFile(join(empty, "registry.secret"), "0123456789abcdef0123456789abcdef");
  await writeFile(
    join(empty, "relay.yaml"),
    `webhooks: { registry: { provider: distribution, secret: file:registry.secret } }
sources: [{ repo: registry.example.com/modules, name: my-modules }]
clusters: { dev: { queue: "embedded:./data", kubernetes: { inCluster: true } } }\n`,
  );
  expect(await run("npx", ["mpo-relay", "check"], { cwd: empty })).toContain("relay.yaml is in order");
});
