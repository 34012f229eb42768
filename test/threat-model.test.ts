/** infra/threat-model.md: each test that it names is there, and no secret of the configuration is missing in its table. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const page = read("infra/threat-model.md");

it("names tests that are there", () => {
  const named = [...page.matchAll(/`((?:e2e\/)?[\w-]+\.(?:test|e2e)\.ts): ([^`]+)`/g)].map(([, file = "", words = ""]) => ({
    file,
    words,
  }));
  expect(named.length).toBeGreaterThan(50);
  const isThere = ({ file, words }: { file: string; words: string }) =>
    existsSync(join(root, "test", file)) && read(join("test", file)).includes(words);
  expect(named.filter((each) => !isThere(each))).toEqual([]);
  expect(isThere({ file: "app.test.ts", words: "a title that nobody gave" })).toBe(false);
});

it("has a test for each row of its borders", () => {
  const [, borders = ""] = /^## Borders\n([\s\S]*?)^## /m.exec(page) ?? [];
  const rows = borders.split("\n").filter((line) => line.startsWith("| ") && !/^\| (?:border|---)/.test(line));
  expect(rows.length).toBeGreaterThan(15);
  expect(rows.filter((row) => !/\.(?:test|e2e)\.ts: /.test(row))).toEqual([]);
});

it("says of every secret of the configuration who holds it", () => {
  const [, secrets = ""] = /^## Secrets\n([\s\S]*?)^## /m.exec(page) ?? [];
  const REFERENCE = /(\w+): (?:optional\(|written\(\(\w+\) => forms\.)*(?:secretRef|readKubeconfig|readKeys)\b/g;
  const keys = [...read("src/config/schema.ts").matchAll(REFERENCE)].map(([, key = ""]) => key);
  expect(keys).toEqual(expect.arrayContaining(["secret", "hubToken", "token", "kubeconfig", "dockerConfig", "key", "keys"]));
  expect(keys.filter((key) => !new RegExp(`\`(?:oidc\\.)?${key}\``).test(secrets))).toEqual([]);
});

it("is right that a forced restart is a person's command alone", () => {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const writing = files.filter((name) => /modules\.deckhouse\.io\/renew|\bFORCE\b/.test(read(join("src", name))));
  expect(writing.filter((name) => !/^(?:cli|sandbox)\//.test(name))).toEqual([]);
  expect(writing).toContain("cli/force.ts");
});
