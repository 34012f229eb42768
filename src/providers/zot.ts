/** zot's events extension, HTTP sink: https://zotregistry.dev/latest/articles/events/ */
import * as z from "zod";
import { cloudEvent, eventsBody, eventsIn, readData } from "./cloudevents-envelope.ts";
import { instantOf, NO_HOST, orNull, repositoryOf, tagAndDigest } from "./normalise.ts";
import { readEach, type RegistryProvider } from "./provider.ts";

const image = z.object({
  name: z.string(),
  reference: z.string(),
  digest: z.string().optional(),
  mediaType: z.string().optional(),
  actor: z.object({ name: z.string().optional() }).default({}),
});

export const zot: RegistryProvider<z.infer<typeof eventsBody>> = {
  name: "zot",
  title: "zot",
  auth: [{ kind: "token", header: "authorization" }, { kind: "basic" }],
  payload: eventsBody,
  pushes: (body, { headers, host }) =>
    readEach(eventsIn(body, headers), cloudEvent, (event) => {
      if (!/(?:^|\.)image\.updated$/.test(event.type)) return null; // what stands before is configurable
      return readData(event, image, ({ name, reference, digest, mediaType, actor }) => {
        const named = tagAndDigest(reference, digest);
        if (named.tag === null && named.digest === null) return null;
        if (host === null) return NO_HOST; // no event of zot names its registry
        const common = { actor: orNull(actor.name), time: instantOf(event.time), id: orNull(event.id) };
        return { host, repository: repositoryOf(name), ...named, mediaType: orNull(mediaType), ...common };
      });
    }),
};
