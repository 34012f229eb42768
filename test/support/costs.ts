/** The arithmetic of infra/costs.md over infra/costs.json: what a million pushes cost on AWS, and a month in which nobody pushes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";

const price = z.strictObject({
  id: z.enum(["sqs", "invocation", "gbs", "wru", "logs", "alarm", "metric"]),
  what: z.string(),
  usd: z.number().positive(),
  /** So many units cost that. */
  per: z.number().positive(),
  unit: z.string(),
  /** Units that AWS gives away each month, to an account and not to a stack. */
  free: z.number().nonnegative(),
  /** Where AWS says it. */
  source: z.url(),
  /** Which region's price it is, and where it was read. */
  read: z.string(),
});
const schema = z.strictObject({
  region: z.string(),
  prices: z.array(price),
  counted: z.record(z.enum(["consumerInvocations", "sends", "journalWrites", "logBytes"]), z.number()),
  assumed: z.record(
    z.enum([
      "writeUnitsPerJournalWrite",
      "edgeMs",
      "consumerMs",
      "sweepMs",
      "memoryGb",
      "platformLogBytes",
      "pollers",
      "pollSeconds",
      "sweepsPerHour",
      "alarmsOfStage",
      "alarmsOfCluster",
    ]),
    z.number(),
  ),
});
type PriceId = z.infer<typeof price>["id"];

export const costs = schema.parse(JSON.parse(readFileSync(join(import.meta.dirname, "../../infra/costs.json"), "utf8")));

const MILLION = 1_000_000;
const HOURS = 730; // of a month, as AWS counts
const GB = 1024 ** 3;
const { counted, assumed } = costs;

/** Units of each price. */
type Usage = Readonly<Partial<Record<PriceId, number>>>;

/** One push, one cluster. Lambda's own receive and delete cost two calls for each record, as nothing fills a batch where pushes are few. */
const push: Usage = {
  sqs: counted.sends + 2 * counted.consumerInvocations,
  invocation: 1 + counted.consumerInvocations,
  gbs: (assumed.memoryGb * (assumed.edgeMs + counted.consumerInvocations * assumed.consumerMs)) / 1000,
  wru: counted.journalWrites * assumed.writeUnitsPerJournalWrite,
  logs: (counted.logBytes + (1 + counted.consumerInvocations) * assumed.platformLogBytes) / GB,
};

/** A month at rest. */
function rest(clusters: number): Usage {
  const sweeps = clusters * assumed.sweepsPerHour * HOURS;
  return {
    sqs: (clusters * assumed.pollers * HOURS * 3600) / assumed.pollSeconds,
    invocation: sweeps,
    gbs: (sweeps * assumed.memoryGb * assumed.sweepMs) / 1000,
    logs: (sweeps * assumed.platformLogBytes) / GB,
    alarm: assumed.alarmsOfStage + clusters * assumed.alarmsOfCluster,
  };
}

const times = (usage: Usage, factor: number): Usage =>
  Object.fromEntries(costs.prices.flatMap(({ id }) => (usage[id] === undefined ? [] : [[id, usage[id] * factor]])));
const dollars = (id: PriceId, units: number) =>
  costs.prices.filter((each) => each.id === id).reduce((sum, { usd, per }) => sum + (units / per) * usd, 0);
const total = (usage: Usage) => costs.prices.reduce((sum, { id }) => sum + dollars(id, usage[id] ?? 0), 0);
/** With what AWS gives away, where nothing else in the account has used it. */
const charged = (usage: Usage) => costs.prices.reduce((sum, { id, free }) => sum + dollars(id, Math.max(0, (usage[id] ?? 0) - free)), 0);

const number = (value: number) => value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : 0 });
const money = (value: number) => `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;

function rows(usage: Usage): string[] {
  return costs.prices.flatMap(({ id, what, usd, per, unit }) => {
    const units = usage[id];
    if (units === undefined) return [];
    return [
      `| ${what} | ${number(units)} ${unit} | $${usd} per ${per === 1 ? unit.replace(/s$/, "") : `${number(per)} ${unit}`} | ${money(dollars(id, units))} |`,
    ];
  });
}
const table = (usage: Usage) => [
  "| | used | price | |",
  "| --- | --- | --- | --- |",
  ...rows(usage),
  `| **together** | | | **${money(total(usage))}** |`,
];

/** What stands between the markers of infra/costs.md. */
export function costsTables(): string {
  const clusters = [1, 2, 3, 6, 12].map((count) => {
    const [idle, busy] = [rest(count), times(push, 10_000 * count)];
    const both = Object.fromEntries(costs.prices.map(({ id }) => [id, (idle[id] ?? 0) + (busy[id] ?? 0)]));
    return `| ${count} | ${money(total(idle))} | ${money(charged(idle))} | ${money(total(both))} | ${money(charged(both))} |`;
  });
  return [
    "### A million pushes, one cluster",
    "",
    ...table(times(push, MILLION)),
    "",
    "### A month at rest, one cluster",
    "",
    ...table(rest(1)),
    "",
    "### A month, by clusters",
    "",
    "| clusters | at rest | at rest, less what AWS gives away | 10,000 pushes to each | 10,000 pushes to each, less what AWS gives away |",
    "| --- | --- | --- | --- | --- |",
    ...clusters,
    "",
    "### Prices",
    "",
    "| | price | given away each month | AWS's page | read from |",
    "| --- | --- | --- | --- | --- |",
    ...costs.prices.map(
      ({ what, usd, per, unit, free, source, read }) =>
        `| ${what} | $${usd} per ${number(per)} ${unit} | ${free === 0 ? "none" : `${number(free)} ${unit}`} | [page](${source}) | ${read} |`,
    ),
  ].join("\n");
}
