/** Tables of the README, of infra/delivery.md, infra/costs.md and infra/metrics.md are made from the code: `npm run readme` writes them, `npm test` compares. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as limits from "../src/limits.ts";
import { type EmfMetric, EMF_METRICS } from "../src/metrics/emf.ts";
import { METRICS } from "../src/metrics/table.ts";
import { ADVICE } from "../src/outcome.ts";
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

const tableOf = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n");
const code = (text: string) => `\`${text}\``;

const metricsTable = () =>
  tableOf(
    ["metric", "labels", ""],
    Object.values(METRICS).map(({ name, labels, help, type }) => [code(name), labels.map(code).join(", "), `${type}: ${help}`]),
  );

/** A row for each metric of CloudWatch: which function prints it, and of what. */
const emfTable = () =>
  tableOf(
    ["metric", "unit", "printed by", "of"],
    Object.entries<EmfMetric>(EMF_METRICS).map(([name, { unit, by, of, where = {} }]) => {
      const labels = Object.entries(where).map(([label, value]) => `${label}="${value}"`);
      return [code(name), unit, by.join(", "), code(`${METRICS[of].name}${labels.length === 0 ? "" : `{${labels.join(",")}}`}`)];
    }),
  );

const alarmsTable = () =>
  tableOf(
    ["code", "what it means, and what to do"],
    Object.entries(ADVICE).map(([alarm, advice]) => [code(alarm), advice]),
  );

type Table = readonly [name: string, source: string, table: () => string];
/** A page is written whole: two tests of one page would each write it without the other's table. */
it.each<[string, ...Table[]]>([
  ["README.md", ["registries", "src/providers/", registries]],
  [
    "infra/metrics.md",
    ["metrics", "src/metrics/table.ts", metricsTable],
    ["cloudwatch", "src/metrics/emf.ts", emfTable],
    ["alarms", "src/outcome.ts", alarmsTable],
  ],
  ["infra/delivery.md", ["limits", "src/limits.ts", limitsTable]],
  ["infra/costs.md", ["costs", "infra/costs.json", costsTables]],
])("%s has its tables as they are written from the code", async (page, ...tables) => {
  let text = readFileSync(join(root, page), "utf8");
  for (const [name, source, table] of tables) {
    const [start, end] = [`<!-- ${name}: written by \`npm run readme\` from ${source} -->`, `<!-- /${name} -->`];
    const [before, rest, ...more] = text.split(start);
    const after = rest?.split(end)[1];
    expect(more).toEqual([]);
    expect(after, "the markers").toBeDefined();
    text = `${before}${start}\n${table()}\n${end}${after}`;
  }
  await expect(text).toMatchFileSnapshot(`../${page}`);
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
