/** The import arrows of the program, and which of them are wrong. Knows files only as a map from path to text, so that a test can plant faults. */
import { posix } from "node:path";

export type Sources = ReadonlyMap<string, string>;
export interface Import {
  readonly from: string;
  /** A file of the program, or a package's name (`node:` ones too). */
  readonly to: string;
  /** Types only: nothing is loaded. */
  readonly isType: boolean;
}

/** From the words that all share up to the processes. A file imports from its own layer and from lower ones. */
const LAYERS: readonly (readonly [string, RegExp])[] = [
  ["words", /^src\/(?:event|group|json|lanes|limits|news|one-line|outcome)\.ts$/],
  ["ports", /^src\/(?:queue\/queue|cluster\/(?:channels|overrides)|journal\/journal|registry\/registry)\.ts$/],
  [
    "rules",
    /^src\/(?:(?:admit|adoption|auth|bodies|body|circuit|config|conflict|copies|crashes|interval|limiter|match|nudge|observe|odd|oidc|own-sources|pace|patience|reasons|refusals|respell|secrets|settle|sign|silence|ssm|status|story|token-end|told|unparsed)\.ts$|(?:config|metrics|providers)\/)/,
  ],
  ["use cases", /^src\/(?:adopt|receive|redrive|release|renew|rescan|confirm|pushes|sweep|watch)\.ts$/],
  ["drivers", /^src\/(?:app|consume|runs|look|secret-watch|expiry|inbox|sweeper|take|worker)\.ts$/],
  ["adapters", /^src\/(?:queue|cluster|journal|registry)\//],
  [
    "wiring",
    /^src\/(?:consumer|journals|lambda|lambda-consumer|lambda-edge|lend|listen|process|queues|registries|relay|storing|workers)\.ts$/,
  ],
  ["processes", /^(?:functions|src\/cli|src\/sandbox)\//],
];
/** Layers that do not import from all lower ones. Adapters know ports and configuration, and nothing of what is done with them; nor do others know adapters. */
const APART: Readonly<Record<string, readonly string[]>> = {
  adapters: ["use cases", "drivers"],
};

/** Each of these packages is imported where it says and nowhere else. */
const ADAPTED: Readonly<Record<string, RegExp>> = {
  "@aws-sdk/client-sqs": /^src\/queue\/sqs\.ts$/,
  aws4fetch: /^src\/queue\/sqs-fetch\.ts$/,
  "@aws-sdk/client-dynamodb": /^src\/journal\/dynamodb\.ts$/,
  "@aws-sdk/client-ssm": /^src\/ssm\.ts$/,
  libsql: /^src\/(?:queue\/embedded|journal\/sqlite)\.ts$/,
  "@kubernetes/client-node": /^src\/cluster\/client-node\.ts$/,
  "@hono/node-server": /^src\/(?:listen|relay|queue\/hub)\.ts$/,
  hono: /^(?:src\/(?:app|queue\/hub)\.ts|src\/queue\/hub\/.*|functions\/edge\.ts)$/,
  yaml: /^src\/(?:config\/text|sandbox\/folder)\.ts$/, // read there, written there
  pino: /^src\/observe\.ts$/,
  "pino-pretty": /^src\/observe\.ts$/,
  commander: /^src\/cli\//,
  "prom-client": /^src\/metrics\/prometheus\.ts$/,
  "tar-stream": /^src\/registry\/layers\.ts$/,
  jose: /^src\/(?:oidc|token-end)\.ts$/,
  selfsigned: /^src\/sandbox\/kubernetes\/certificates\.ts$/,
};

/** Types load nothing, so a folder may use them that has one file to load the package. */
const TYPES: Readonly<Record<string, RegExp>> = { "@kubernetes/client-node": /^src\/cluster\//, hono: /^src\/relay\.ts$/ };

const STATEMENT = /^(?:import|export)\s+(type\s)?[^"';]*?from\s*"([^"]+)"|^import\s*"([^"]+)"|\bimport\("([^"]+)"\)/gm;

export function importsOf(path: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return [...code.matchAll(STATEMENT)].map(([, type, from, bare, lazy]) => {
    const given = from ?? bare ?? lazy ?? "";
    const to = given.startsWith(".") ? posix.join(posix.dirname(path), given) : packageOf(given);
    return { from: path, to, isType: type !== undefined };
  });
}

const packageOf = (given: string) =>
  given
    .split("/")
    .slice(0, given.startsWith("@") ? 2 : 1)
    .join("/");
const layerOf = (path: string) => LAYERS.findIndex(([, files]) => files.test(path));
const nameOf = (layer: number) => LAYERS[layer]?.[0] ?? "no layer";

/** One line for each wrong arrow. */
export function wrongArrows(sources: Sources): string[] {
  const imports = [...sources].flatMap(([path, text]) => importsOf(path, text));
  return [
    ...[...sources.keys()].filter((path) => layerOf(path) < 0).map((path) => `${path} is in no layer`),
    ...imports.flatMap(wrong),
    ...cycles(imports),
  ];
}

function wrong({ from, to, isType }: Import): string[] {
  const place = isType ? (TYPES[to] ?? ADAPTED[to]) : ADAPTED[to];
  if (place && !place.test(from)) return [`${from} imports ${to}: that is for ${place.source}`];
  if (from.startsWith("src/providers/") && !/^(?:src\/providers\/.*|src\/event\.ts|zod)$/.test(to))
    return [`${from} imports ${to}: a provider is data and one pure function`];
  if (!to.startsWith("src/") && !to.startsWith("functions/"))
    return to.startsWith("..") ? [`${from} imports ${to}, outside the project`] : [];
  const [above, below] = [layerOf(from), layerOf(to)];
  if (above < below) return [`${from} (${nameOf(above)}) imports ${to} (${nameOf(below)})`];
  if (APART[nameOf(above)]?.includes(nameOf(below))) return [`${from} (${nameOf(above)}) imports ${to} (${nameOf(below)})`];
  if (nameOf(above) === "use cases" && above === below && !isType && !from.includes("redrive"))
    return [`${from} imports ${to}: the use cases do not call each other`];
  return [];
}

/** Rings of what is loaded; types load nothing. */
function cycles(imports: readonly Import[]): string[] {
  const next = new Map<string, string[]>();
  for (const { from, to, isType } of imports) if (!isType) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) found.push(`a ring: ${[...path.slice(path.indexOf(file)), file].join(" → ")}`);
    if (done.has(file) || path.includes(file)) return;
    for (const each of next.get(file) ?? []) visit(each, [...path, file]);
    done.add(file);
  };
  for (const file of next.keys()) visit(file, []);
  return found;
}
