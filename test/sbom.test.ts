/** infra/release/sbom.mjs: the list that goes with a release, beside what is installed and bundled in fact. `npm test` builds dist/ first. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import * as z from "zod";

const root = join(import.meta.dirname, "..");
interface Sbom {
  sbomOf(root: string): Promise<string>;
}
const { sbomOf }: Sbom = await import(join(root, "infra/release/sbom.mjs"));

const component = z.looseObject({
  "bom-ref": z.string(),
  name: z.string(),
  version: z.string(),
  scope: z.string().optional(),
  properties: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
  licenses: z.array(z.unknown()).min(1),
  hashes: z.array(z.unknown()).min(1),
});
const bom = z.object({
  bomFormat: z.literal("CycloneDX"),
  metadata: z.looseObject({ component: z.looseObject({ "bom-ref": z.string() }) }),
  components: z.array(component),
  dependencies: z.array(z.object({ ref: z.string(), dependsOn: z.array(z.string()).default([]) })),
});
type Tree = { readonly version?: string | undefined; readonly dependencies?: Readonly<Record<string, Tree>> | undefined };
const tree: z.ZodType<Tree> = z.lazy(() =>
  z.object({ version: z.string().optional(), dependencies: z.record(z.string(), tree).optional() }),
);
const nodes = ({ dependencies = {} }: Tree): string[] =>
  Object.entries(dependencies).flatMap(([name, each]) => (each.version === undefined ? [] : [`${name}@${each.version}`, ...nodes(each)]));

const manifest = z.object({ name: z.string(), version: z.string() });
const packageOf = (path: string): string[] => {
  const folder = /.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
  if (folder === undefined) return [];
  const { name, version } = manifest.parse(JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")));
  return [`${name}@${version}`];
};

let text = "";
let list: z.output<typeof bom>;
let installed: Set<string>;
let bundled: Set<string>;
beforeAll(async () => {
  text = await sbomOf(root);
  list = bom.parse(JSON.parse(text));
  const { stdout } = await promisify(execFile)("npm", ["ls", "--omit=dev", "--all", "--json"], { cwd: root, maxBuffer: 64 * 1024 * 1024 });
  installed = new Set(nodes(tree.parse(JSON.parse(stdout))));
  const outputs = z.record(z.string(), z.object({ inputs: z.record(z.string(), z.unknown()) }));
  const { cli } = z.object({ cli: outputs }).parse(JSON.parse(readFileSync(join(root, "dist/meta.json"), "utf8")));
  bundled = new Set(Object.values(cli).flatMap(({ inputs }) => Object.keys(inputs).flatMap(packageOf)));
}, 120_000);
const listed = () => new Set(list.components.map(({ name, version }) => `${name}@${version}`));

test("all that is installed in production is in the list, and all that is in the bundle", () => {
  expect(installed.size).toBeGreaterThan(100);
  expect(bundled.size).toBeGreaterThan(20);
  expect([...installed, ...bundled].filter((each) => !listed().has(each))).toEqual([]);
});

test("what is in the list is installed or bundled, in that version; or it is for another platform", () => {
  const elsewhere = z.looseObject({
    version: z.string(),
    dev: z.literal(false).default(false),
    optional: z.literal(true),
    os: z.array(z.string()),
  });
  const { packages } = z
    .object({ packages: z.record(z.string(), z.unknown()) })
    .parse(JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")));
  const others = Object.entries(packages).flatMap(([path, each]) => {
    const read = elsewhere.safeParse(each);
    return read.success ? [`${path.replace(/.*node_modules\//, "")}@${read.data.version}`] : [];
  });
  expect(others.length).toBeGreaterThan(0);
  expect(others.filter((each) => !each.startsWith("@libsql/"))).toEqual([]);
  expect([...listed()].filter((each) => !installed.has(each) && !bundled.has(each) && !others.includes(each))).toEqual([]);
});

test("nothing in it looks as though development alone needed it", () => {
  const marked = list.components.filter(({ properties }) => properties.some(({ name }) => name === "cdx:npm:package:development"));
  expect(marked).toEqual([]);
  const ofBundle = list.components.filter(({ name, version }) => bundled.has(`${name}@${version}`) && !installed.has(`${name}@${version}`));
  expect(ofBundle.length).toBeGreaterThan(10);
  expect(ofBundle.filter(({ scope }) => scope !== undefined)).toEqual([]);
});

test("each has its row in the graph, which points at nothing else, and is reached from the relay", () => {
  const refs = [list.metadata.component["bom-ref"], ...list.components.map((each) => each["bom-ref"])];
  expect(list.dependencies.map(({ ref }) => ref).toSorted()).toEqual(refs.toSorted());
  const of = new Map(list.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  const reached = new Set(refs.slice(0, 1));
  for (const ref of reached) for (const next of of.get(ref) ?? []) reached.add(next);
  expect([...reached].filter((ref) => !refs.includes(ref))).toEqual([]);
  // `debug` names it nowhere, and takes it where it lies beside it: so does its bundle
  const beside = ["supports-color", "has-flag"];
  expect(refs.filter((ref) => !reached.has(ref) && !beside.includes(ref.replace(/@[^@]*$/, "")))).toEqual([]);
});

test("the same comes of the same", async () => {
  expect(await sbomOf(root)).toBe(text);
});
