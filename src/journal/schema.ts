/** Entries as they come from elsewhere: a file, a table, a hub. */
import * as z from "zod";

const text = z.string().min(1).max(2048);
/** Instants are compared as texts. */
const instant = z.iso.datetime({ precision: 3 });

const detail = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));

/** As a store keeps it: JSON. What is none of ours is left out, and hides no entry. */
export const detailText = z.string().transform((json): z.infer<typeof detail> => detail.catch({}).parse(JSON.parse(json)));

export const newEntry = z.object({
  key: text,
  cluster: text,
  stage: text,
  at: instant,
  module: text,
  tag: text,
  digest: text.nullable(),
  image: text,
  webhook: text,
  actor: text.nullable(),
  pushedAt: instant.nullable(),
  receivedAt: instant,
  detail,
});

export const entry = newEntry.extend({ last: instant, times: z.int().min(1) });
