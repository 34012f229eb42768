/** What was found, for people. What comes from a registry or a cluster must not steer a terminal. */
import type { Channel, ImageLook, Modules, Tags } from "./held.ts";
import { counted, oneLine, table } from "../terminal.ts";
import type { Users } from "./users.ts";

const WIDTH = 120;

export function sourceText(title: string, { modules, all, plain }: Modules, users: Users): string {
  const others = plain.filter((tag) => !modules.includes(tag));
  const rows = modules.map((module) => {
    const used = users.overrides.filter((each) => each.module === module);
    return [module, used.map(({ cluster, tag, message }) => `${cluster}: ${tag}${sayingOf(message)}`).join(", ") || "-"];
  });
  return paragraphs(
    `${title}: ${counted(modules.length, "module")}`,
    webhooksText(users),
    rows.length === 0 ? "" : table(["MODULE", "OVERRIDES"], rows),
    others.length === 0 ? "" : `other tags, which name no module:\n${flowing(others)}`,
    hiddenText(all.length - plain.length),
  );
}

export function moduleText(title: string, tags: Tags, releases: Tags | null, channels: readonly Channel[], users: Users): string {
  const versions = releases?.plain.filter((tag) => !channels.some(({ channel }) => channel === tag)) ?? [];
  return paragraphs(
    `${title}: ${counted(tags.plain.length, "tag")}, ${counted(versions.length, "release")}`,
    webhooksText(users),
    users.overrides.length === 0
      ? ""
      : table(
          ["OVERRIDE IN", "TAG", "RUNS", "MESSAGE"],
          users.overrides.map(({ cluster, tag, digest, message }) => [cluster, tag, digest ?? "-", message || "-"]),
        ),
    channels.length === 0
      ? "no channel: nothing was released yet"
      : table(
          ["CHANNEL", "VERSION", "DIGEST"],
          channels.map(({ channel, version, digest, why }) => [channel, version ?? `? (${why ?? ""})`, digest ?? "-"]),
        ),
    versions.length === 0 ? "" : `releases:\n${flowing(versions)}`,
    tags.plain.length === 0 ? "" : `tags:\n${flowing(tags.plain)}`,
    hiddenText(tags.all.length - tags.plain.length),
  );
}

export function imageText(title: string, look: ImageLook, users: Users): string {
  const { digest, index, layers, version, module, components, files } = look;
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  const facts = [
    ["digest", digest],
    ...(index === null ? [] : [["index", `${index} (the digest is that of its linux/amd64)`]]),
    ...(version === null ? [] : [["version", version]]),
    ["layers", `${layers.length}, ${sizeText(bytes)} compressed`],
    ...users.overrides.map(({ cluster, digest: runs }) => [
      "override",
      `${cluster} ${runs === digest ? "runs it" : `runs ${runs ?? "nothing yet"}`}`,
    ]),
  ];
  return paragraphs(
    `${title}\n${facts.map(([name = "", value = ""]) => `  ${name.padEnd(9)}${oneLine(value)}`).join("\n")}`,
    module === null
      ? ""
      : `module.yaml:\n${module
          .trimEnd()
          .split("\n")
          .map((line) => `  ${keepIndent(line)}`)
          .join("\n")}`,
    components === null
      ? "no images_digests.json: no components"
      : table(
          ["COMPONENT", "DIGEST"],
          Object.entries(components).map(([name, value]) => [name, value]),
        ),
    table(
      ["SIZE", "FILE"],
      files.map(({ path, kind, size }) => [kind === "file" ? sizeText(size) : kind, path]),
    ),
  );
}

const paragraphs = (...texts: readonly string[]) => texts.filter((text) => text !== "").join("\n\n");

function webhooksText({ webhooks }: Users): string {
  return webhooks.length === 0 ? "" : `webhooks: ${webhooks.map(({ name, provider }) => `${name} (${provider})`).join(", ")}`;
}

const sayingOf = (message: string) => (message === "" || message === "Ready" ? "" : ` (${message})`);

const hiddenText = (count: number) => (count === 0 ? "" : `and ${counted(count, "tag")} of werf's and cosign's own (--json has all)`);

/** Words one after the other, broken at the width of a terminal. */
function flowing(words: readonly string[]): string {
  const lines: string[] = [];
  let line = "";
  for (const word of words.map(oneLine)) {
    if (line !== "" && line.length + 2 + word.length > WIDTH) {
      lines.push(line);
      line = "";
    }
    line += `  ${word}`;
  }
  return [...lines, line].join("\n");
}

const keepIndent = (line: string) => `${/^ */.exec(line)?.[0] ?? ""}${oneLine(line)}`;

/** `512 B`, `1.2 MiB`. */
function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
