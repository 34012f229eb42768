/** Tables of the README, of infra/delivery.md and of infra/costs.md are made from the code: `npm run readme` writes them, `npm test` compares. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as limits from "../src/limits.ts";
import { providers } from "../src/providers/index.ts";
import type { RegistryProvider } from "../src/providers/provider.ts";
import { costsTables } from "./support/costs.ts";

const root = join(import.meta.dirname, "..");
const pages = join(root, "infra/registries");
const row = ({ title, name, auth }: RegistryProvider) =>
  `| [${title}](infra/registries/${name}.md) | \`${name}\` | ${auth.map(({ kind }) => `\`${kind}\``).join(", ")} |`;
const registries = () =>
  [
    "| registry, and its page | `provider:` | `auth:`, the first is the default |",
    "| --- | --- | --- |",
    ...Object.values(providers).map(row),
  ].join("\n");

/** A row for each constant of src/limits.ts under its heading: its doc comment, and its value in the unit that its name ends with. */
function limitsTable(): string {
  const text = readFileSync(join(root, "src/limits.ts"), "utf8");
  const values = new Map<string, number | readonly number[]>(Object.entries(limits));
  const parts = text.matchAll(/^\/\/ # (.+)$|^\/\*\* (.+) \*\/\nexport const (\w+) = /gm);
  const lines = [...parts].flatMap(([, heading, why = "", name = ""]) => {
    if (heading !== undefined) return ["", `### ${heading}`, "", "| | | why |", "| --- | --- | --- |"];
    const value = values.get(name);
    values.delete(name);
    return [
      `| \`${name}\` | ${[value ?? []]
        .flat()
        .map((each) => inWords(name, each))
        .join(", ")} | ${why} |`,
    ];
  });
  expect([...values.keys()], "constants without a comment of one line").toEqual([]);
  return lines.slice(1).join("\n");
}

function inWords(name: string, value: number): string {
  if (name.endsWith("COOLDOWNS")) return `${value} cool-downs`;
  if (!/_(?:MS|SECONDS)$/.test(name)) return value.toLocaleString("en-US");
  const ms = name.endsWith("MS") ? value : value * 1000;
  const [unit, length] = [["h", 3_600_000] as const, ["min", 60_000] as const, ["s", 1000] as const].find(
    ([, each]) => ms % each === 0,
  ) ?? ["ms", 1];
  return `${ms / length} ${unit}`;
}

it.each([
  ["README.md", "registries", "src/providers/", registries],
  ["infra/delivery.md", "limits", "src/limits.ts", limitsTable],
  ["infra/costs.md", "costs", "infra/costs.json", costsTables],
])("%s has the table of %s as it is written from %s", async (page, name, source, table) => {
  const [start, end] = [`<!-- ${name}: written by \`npm run readme\` from ${source} -->`, `<!-- /${name} -->`];
  const [before, rest, ...more] = readFileSync(join(root, page), "utf8").split(start);
  const after = rest?.split(end)[1];
  expect(more).toEqual([]);
  expect(after, "the markers").toBeDefined();
  await expect(`${before}${start}\n${table()}\n${end}${after}`).toMatchFileSnapshot(`../${page}`);
});

describe("the README", () => {
  it("calls no two registries the same", () => {
    const titles = Object.values(providers).map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
  });
});

/** Whoever runs two registries finds the same things in the same places. */
const HEADINGS = [
  "What it sends",
  "Can it hold a module source",
  "Set it up",
  "Secret",
  "Verify",
  "Quirks",
  "Who owns the setting",
  "Where the facts are from",
];

describe.each(readdirSync(pages))("the page %s", (page) => {
  const text = readFileSync(join(pages, page), "utf8");

  it("has the headings that every page has, in their order", () => {
    const headings = text.split("\n").flatMap((line) => (line.startsWith("## ") ? [line.slice(3)] : []));
    expect(headings.filter((heading) => HEADINGS.includes(heading))).toEqual(HEADINGS); // a page may have more
  });

  it("says on which registry the webhook belongs", () => {
    expect(text.replaceAll(/\s+/g, " ")).toContain("the webhook belongs on the registry that the cluster pulls from");
  });
});
