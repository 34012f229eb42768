/** What holds for every file: which way imports point, what stands where, and what makes a provider complete. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { providerNames } from "../src/providers/index.ts";
import { importsOf, wrongArrows } from "./support/imports.ts";

const root = join(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const filesIn = (...folders: readonly string[]) =>
  folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1)),
  );
const isCode = (path: string) => /\.(?:ts|mjs)$/.test(path);
const sources = new Map(filesIn("src", "functions").map((path) => [path, read(path)]));

describe("imports", () => {
  test("point one way", () => {
    expect(sources.size).toBeGreaterThan(50);
    expect(wrongArrows(sources)).toEqual([]);
  });

  test("are found in each of their forms", () => {
    const text = `
      import a from "./a.ts";
import {
  b,
  type B,
} from "../b.ts";
import type { C } from "./c.ts";
import "./d.ts";
export { e } from "./e.ts";
export type * from "./f.ts";
// import { no } from "./comment.ts";
/** {@link import("./comment.ts")} */
const g = await import("@scope/g/part");
const h = () => import("./h.ts");`;
    const found = importsOf("src/x/file.ts", text.replace(/^ +(?=import a)/m, ""));
    expect(found.map(({ to, isType }) => `${to}${isType ? " (type)" : ""}`)).toEqual([
      "src/x/a.ts",
      "src/b.ts",
      "src/x/c.ts (type)",
      "src/x/d.ts",
      "src/x/e.ts",
      "src/x/f.ts (type)",
      "@scope/g",
      "src/x/h.ts",
    ]);
  });

  test.each([
    ["the core and an adapter", "src/receive.ts", `import { openSqs } from "./queue/sqs.ts";`],
    ["the core and an adapter's type", "src/renew.ts", `import type { Connection } from "./cluster/connection.ts";`],
    ["the core and an adapter, late", "src/consume.ts", `const { openEmbedded } = await import("./queue/embedded.ts");`],
    ["a rule and a use case", "src/match.ts", `import { receive } from "./receive.ts";`],
    ["the words and a rule", "src/event.ts", `import { match } from "./match.ts";`],
    ["a use case and another", "src/confirm.ts", `import { renew } from "./renew.ts";`],
    ["a use case and the wiring", "src/renew.ts", `import { openQueues } from "./queues.ts";`],
    ["the wiring and a process", "src/relay.ts", `import { serve } from "../functions/serve.ts";`],
    ["an adapter and a use case", "src/queue/sqs.ts", `import type { Store } from "../receive.ts";`],
    ["a provider and a comparison of secrets", "src/providers/quay.ts", `import { authenticate } from "../auth.ts";`],
    ["a provider and the network", "src/providers/quay.ts", `import { request } from "node:https";`],
    ["a second file and the SQS SDK", "src/queues.ts", `import { SQSClient } from "@aws-sdk/client-sqs";`],
    ["a second file and SQLite", "src/cli/dlq.ts", `const { default: Database } = await import("libsql");`],
    ["a second file and the Kubernetes client", "src/cluster/read.ts", `import { KubeConfig } from "@kubernetes/client-node";`],
    ["types of the Kubernetes client outside its folder", "src/renew.ts", `import type { KubeConfig } from "@kubernetes/client-node";`],
    ["a file and what is outside the project", "src/event.ts", `import { model } from "../../shared/model.ts";`],
    ["a new file and no layer", "src/extra.ts", ""],
    ["two files in a ring", "src/status.ts", `import { other } from "./nudge.ts"; `],
  ])("between %s are found", (_what, path, line) => {
    const ring = path === "src/status.ts" ? ([["src/nudge.ts", `import { status } from "./status.ts";`]] as const) : [];
    expect(wrongArrows(new Map([[path, line], ...ring]))).toHaveLength(1);
  });
});

describe("a provider is complete", () => {
  test.each(providerNames)("%s has its page and its fixtures", (name) => {
    expect(existsSync(join(root, `infra/registries/${name}.md`)), "infra/registries/").toBe(true);
    expect(filesIn(`test/fixtures/${name}`).filter((path) => path.endsWith(".body")).length, "test/fixtures/").toBeGreaterThan(0);
  });

  test("and no page and no fixture is left of one that went", () => {
    const pages = filesIn("infra/registries").map((path) => path.replace(/^.*\/(.*)\.md$/, "$1"));
    expect(pages.toSorted()).toEqual([...providerNames].toSorted());
    expect(readdirSync(join(root, "test/fixtures")).toSorted()).toEqual([...providerNames].toSorted());
  });
});

describe("every file", () => {
  const files = [...sources];
  const where = (pattern: RegExp, of: Iterable<readonly [string, string]> = files) =>
    [...of].flatMap(([path, text]) =>
      text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
    );

  test("of src and functions has at most 250 lines", () => {
    const long = files.map(([path, text]) => ({ path, lines: text.trimEnd().split("\n").length })).filter(({ lines }) => lines > 250);
    expect(long).toEqual([]);
  });

  // Also in comments: then anybody can see with grep that there is none.
  test.each([
    ["any", /: any\b|\bas any\b|<any>/],
    ["cast over unknown", /\bas unknown as\b/],
    ["silenced compiler", /@ts-(?:ignore|nocheck|expect-error)/],
    ["work left over", /\b(?:TODO|FIXME|XXX)\b/],
  ])("has no %s", (_what, pattern) => {
    expect(where(pattern)).toEqual([]);
  });

  const all = filesIn("src", "functions", "infra", "test").filter((path) => isCode(path) && !path.includes("node_modules/"));
  const written = all.filter((path) => path !== "test/boundaries.test.ts").map((path) => [path, read(path)] as const);

  // `{ z }` keeps every locale and every schema: 360 KB more in a bundle.
  test("imports zod as a namespace", () => {
    expect(where(/^import (?!(?:type )?\* as z from ).*["']zod["']/, written)).toEqual([]);
    expect(where(/\* as z from "zod"/, written).length).toBeGreaterThan(10);
  });

  test("is whole in itself: nothing refers to a folder beside the project", () => {
    const texts = ["README.md", "CONTRIBUTING.md", "package.json", "serverless.yml", "tsconfig.json", ".ci/run", ...filesIn("infra")];
    const everything = [...written, ...texts.map((path) => [path, read(path)] as const)];
    expect(where(/(?:\.\.|\/work)\/shared\b/, everything)).toEqual([]);
  });
});
