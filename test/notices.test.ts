/** THIRD-PARTY.txt beside each bundle: licence and notice of every package of which it holds code. `npm test` builds dist/ first. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished, test } from "vitest";
import * as z from "zod";

const root = join(import.meta.dirname, "..");
// JavaScript without types, as the build is that runs on Node 20.
interface Notices {
  noticesOf(root: string, inputs: readonly string[], texts: Readonly<Record<string, string>>): Promise<string>;
}
const { noticesOf }: Notices = await import(join(root, "infra/notices.mjs"));
const outputs = z.record(z.string(), z.object({ inputs: z.record(z.string(), z.unknown()) }));
const meta = z
  .object({ cli: outputs, workers: outputs, lambda: outputs })
  .parse(JSON.parse(readFileSync(join(root, "dist/meta.json"), "utf8")));
const { texts } = z
  .object({ texts: z.record(z.string(), z.string()) })
  .parse(JSON.parse(readFileSync(join(root, "infra/licences.json"), "utf8")));
const manifest = z.object({ name: z.string(), version: z.string(), license: z.string() });

/** `name@version (licence)` of what a bundle holds, found the long way: the nearest package.json that has a name. */
function packagesIn(of: z.output<typeof outputs>): string[] {
  const inputs = new Set(Object.values(of).flatMap((each) => Object.keys(each.inputs)));
  const found = [...inputs].filter((path) => path.includes("node_modules/")).map((path) => nearest(dirname(join(root, path))));
  return [...new Set(found)].toSorted();
}
function nearest(folder: string): string {
  try {
    const { name, version, license } = manifest.parse(JSON.parse(readFileSync(join(folder, "package.json"), "utf8")));
    return `${name}@${version} (${license})`;
  } catch {
    return folder === root ? "nothing" : nearest(dirname(folder));
  }
}

/** What the file says: the packages of each text. */
const partsOf = (text: string) =>
  text
    .split(/^={80}\n\n/m)
    .slice(1)
    .map((part) => {
      const [head = "", ...rest] = part.split("\n\n");
      return { ids: head.split("\n"), text: rest.join("\n\n").trim() };
    });

const bundles = [
  ["dist", meta.cli],
  ["dist/workers", meta.workers],
  ...["edge", "consumer", "sweep", "inbox"].map(
    (name) =>
      [
        `dist/lambda/${name}`,
        Object.fromEntries(Object.entries(meta.lambda).filter(([file]) => new RegExp(`^dist/lambda/${name}[./]`).test(file))),
      ] as const,
  ),
] as const;

describe.each(bundles)("%s/THIRD-PARTY.txt", (folder, of) => {
  const file = readFileSync(join(root, folder, "THIRD-PARTY.txt"), "utf8");
  const parts = partsOf(file);

  it("names each package that is in the bundle, with its version, and no other", () => {
    const there = packagesIn(of);
    expect(there.length).toBeGreaterThan(5);
    expect(there).not.toContain("nothing");
    expect(parts.flatMap(({ ids }) => ids).toSorted()).toEqual(there);
  });

  it("has the text of each", () => {
    // the shortest that there is, ISC's, has 700; a line that only points to a text has less
    expect(parts.filter(({ text }) => text.length < 500)).toEqual([]);
    expect(parts.filter(({ text }) => !/copyright|public domain/i.test(text)).map(({ ids }) => ids)).toEqual([]);
  });
});

test("every function of dist/lambda has one", () => {
  const functions = Object.keys(meta.lambda).flatMap((file) => /^dist\/lambda\/(\w+)\.mjs$/.exec(file)?.[1] ?? []);
  expect(functions.map((name) => `dist/lambda/${name}`).toSorted()).toEqual(
    bundles.flatMap(([folder]) => (folder.includes("lambda") ? [folder] : [])).toSorted(),
  );
});

test("infra/licences.json holds texts of what is in a bundle alone", () => {
  const there = bundles.flatMap(([, of]) => packagesIn(of));
  expect(Object.keys(texts).filter((id) => !there.some((each) => each.startsWith(`${id} (`)))).toEqual([]);
});

describe("a planted package", () => {
  const MIT = "The MIT License\n\nCopyright (c) somebody";
  function plant(packages: Readonly<Record<string, Readonly<Record<string, string>>>>): { root: string; inputs: string[] } {
    const folder = mkdtempSync(join(tmpdir(), "mpo-relay-notices-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    for (const [name, files] of Object.entries(packages)) {
      const at = join(folder, "node_modules", name);
      mkdirSync(at, { recursive: true });
      writeFileSync(join(at, "package.json"), JSON.stringify({ name, version: "1.0.0", license: "MIT", repository: `of-${name[0]}` }));
      for (const [file, content] of Object.entries(files)) writeFileSync(join(at, file), content);
    }
    return { root: `${folder}/`, inputs: Object.keys(packages).map((name) => `node_modules/${name}/lib/index.js`) };
  }
  const notices = (packages: Parameters<typeof plant>[0], own: Record<string, string> = {}) => {
    const planted = plant(packages);
    return noticesOf(planted.root, planted.inputs, own);
  };

  it.each([
    ["no file", {}],
    ["an empty one", { LICENSE: " \n" }],
    ["code of that name alone", { "license.js": MIT }],
    ["a notice alone", { NOTICE: "Made by somebody" }],
  ])("with %s is an error that names it, and every other", async (_, files) => {
    await expect(notices({ "@a/planted": files, bare: files, fine: { LICENSE: MIT } })).rejects.toThrow(
      "no text of a licence with @a/planted@1.0.0, bare@1.0.0",
    );
  });

  it("has its licence and its notice there, whatever the files are called", async () => {
    for (const name of ["LICENSE", "license.md", "Licence.txt", "UNLICENSE", "COPYING", "LICENSE-MIT", "LICENSE.BSD"]) {
      const [part] = partsOf(await notices({ a: { [name]: MIT, NOTICE: "Made by somebody" } }));
      expect(part?.ids).toEqual(["a@1.0.0 (MIT)"]);
      expect(part?.text).toContain(MIT);
      expect(part?.text).toContain("Made by somebody");
    }
  });

  it("without a text has that of its repository, or the one that is written down for this very version", async () => {
    expect(partsOf(await notices({ ab: {}, ac: { LICENSE: MIT } }))).toEqual([{ ids: ["ab@1.0.0 (MIT)", "ac@1.0.0 (MIT)"], text: MIT }]);
    expect(partsOf(await notices({ ab: { NOTICE: "ab" }, ac: { LICENSE: MIT, NOTICE: "ac" } })).map(({ text }) => text)).toEqual([
      `${MIT}\n\nab`,
      `${MIT}\n\nac`,
    ]);
    expect(partsOf(await notices({ a: {} }, { "a@1.0.0": MIT }))).toEqual([{ ids: ["a@1.0.0 (MIT)"], text: MIT }]);
    await expect(notices({ a: {} }, { "a@1.0.1": MIT })).rejects.toThrow("a@1.0.0");
  });

  it("in another order, or more than once, makes the same bytes", async () => {
    const { root: at, inputs } = plant({ c: { LICENSE: MIT }, b: { LICENSE: `${MIT}\r\n` }, a: { LICENSE: "Copyright of another" } });
    const text = await noticesOf(at, inputs, {});
    expect(await noticesOf(at, [...inputs, ...inputs].toReversed(), {})).toBe(text);
    expect(partsOf(text).map(({ ids }) => ids)).toEqual([["a@1.0.0 (MIT)"], ["b@1.0.0 (MIT)", "c@1.0.0 (MIT)"]]);
  });
});

test("a build over a package without a licence fails, and one over the same packages writes the same", async () => {
  const copy = mkdtempSync(join(tmpdir(), "mpo-relay-notices-"));
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }));
  for (const part of ["src", "functions", "infra", "package.json", "tsconfig.json"])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const build = () => promisify(execFile)(process.execPath, ["infra/build.mjs"], { cwd: copy });
  await build();
  for (const [folder] of bundles)
    expect(readFileSync(join(copy, folder, "THIRD-PARTY.txt"), "utf8")).toBe(readFileSync(join(root, folder, "THIRD-PARTY.txt"), "utf8"));

  const planted = join(copy, "src/node_modules/planted");
  mkdirSync(planted, { recursive: true });
  writeFileSync(join(planted, "package.json"), JSON.stringify({ name: "planted", version: "1.2.3", license: "MIT", main: "index.js" }));
  writeFileSync(join(planted, "index.js"), "export const planted = process.pid;\n");
  const entry = join(copy, "functions/edge.ts");
  writeFileSync(
    entry,
    `import { planted } from "../src/node_modules/planted/index.js";\nglobalThis.planted = planted;\n${readFileSync(entry, "utf8")}`,
  );
  await expect(build()).rejects.toThrow("no text of a licence with planted@1.2.3");
}, 120_000);
