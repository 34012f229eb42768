/** The README's table of registries is made from the provider table: `npm run readme` writes it, `npm test` compares. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { providers } from "../src/providers/index.ts";
import type { RegistryProvider } from "../src/providers/provider.ts";

const root = join(import.meta.dirname, "..");
const pages = join(root, "infra/registries");
const START = "<!-- registries: written by `npm run readme` from src/providers/ -->";
const END = "<!-- /registries -->";

const row = ({ title, name, auth }: RegistryProvider) =>
  `| [${title}](infra/registries/${name}.md) | \`${name}\` | ${auth.map(({ kind }) => `\`${kind}\``).join(", ")} |`;
const table = ["| registry, and its page | `provider:` | `auth:`, the first is the default |", "| --- | --- | --- |"];

describe("the README", () => {
  it("has the table of registries that the code has", async () => {
    const text = readFileSync(join(root, "README.md"), "utf8");
    const [before, rest, ...more] = text.split(START);
    const after = rest?.split(END)[1];
    expect(more).toEqual([]);
    expect(after, "the markers").toBeDefined();
    const rows = [...table, ...Object.values(providers).map(row)].join("\n");
    await expect(`${before}${START}\n${rows}\n${END}${after}`).toMatchFileSnapshot("../README.md");
  });

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
