/** What the API server says of overrides, checked and brought into the port's form. */
import * as z from "zod";
import { problems } from "../event.ts";
import { RelayError } from "../outcome.ts";
import { keeperOf } from "./gitops.ts";
import { managedFields, writtenAt } from "./managed.ts";
import type { ModuleState, Override } from "./overrides.ts";

export const GROUP = "deckhouse.io";
/** Of overrides, the newest first. */
export const VERSIONS = ["v1alpha2", "v1alpha1"] as const;
/** What a version of a group serves. */
export const resourceList = z.looseObject({ resources: z.array(z.looseObject({ name: z.string() })) });
/** The field manager of what we write. */
export const MANAGER = "mpo-relay";

const texts = z
  .record(z.string(), z.string())
  .nullish()
  .transform((map) => map ?? {});
const text = z
  .string()
  .nullish()
  .transform((value) => value || null);

/** Deckhouse puts whole errors there. A confirm record holds it, and a queue takes no record beyond 200 KiB: the beginning tells what it is. */
const MESSAGE_LENGTH = 2000;
const message = text.transform((value) => value?.slice(0, MESSAGE_LENGTH) ?? null);

/** Every API server keeps to this, whatever a definition says. */
const object = z.looseObject({
  kind: z.literal("ModulePullOverride"),
  metadata: z.looseObject({
    name: z.string().min(1),
    uid: z.string().default(""),
    resourceVersion: z.string().min(1),
    annotations: texts,
    labels: texts,
    managedFields,
  }),
});
const spec = z.looseObject({ imageTag: z.string(), source: text, scanInterval: text });
const status = z.looseObject({ message, imageDigest: text, updatedAt: text });
const contents = z.object({ spec, status: status.nullish() });
/** An API server gives what it stores, also where the definition is another by now; the others of its list are none the worse for it. */
const readable = z.object({
  spec: z
    .looseObject({ imageTag: z.string().catch(""), source: text.catch(null), scanInterval: text.catch(null) })
    .catch({ imageTag: "", source: null, scanInterval: null }),
  status: z
    .looseObject({ message: message.catch(null), imageDigest: text.catch(null), updatedAt: text.catch(null) })
    .nullish()
    .catch(null),
});
const list = z.looseObject({ items: z.array(z.unknown()) });

export interface Found {
  readonly override: Override;
  readonly uid: string;
  /** The value of the label `renew`; null: it has none. */
  readonly label: string | null;
}

/** Throws RelayError CLUSTER_ERROR for anything but an override. */
export function readFound(answer: unknown, apiVersion: Override["apiVersion"]): Found {
  const { metadata } = check(object, answer);
  const asDefined = contents.safeParse(answer);
  const { spec, status } = asDefined.data ?? check(readable, answer);
  const { name, resourceVersion, annotations, labels } = metadata;
  const { imageTag, source, scanInterval } = spec;
  const override: Override = {
    name,
    apiVersion,
    resourceVersion,
    imageTag,
    source,
    scanInterval,
    annotations,
    keeper: keeperOf(metadata),
    taggedAt: writtenAt(metadata.managedFields, "f:imageTag"),
    status: { message: status?.message ?? "", imageDigest: status?.imageDigest ?? null, updatedAt: status?.updatedAt ?? null },
    odd: asDefined.success ? null : problems(asDefined.error),
  };
  return { override, uid: metadata.uid, label: labels["renew"] ?? null };
}

export function readList(answer: unknown, apiVersion: Override["apiVersion"]): Override[] {
  return check(list, answer).items.map((item) => readFound(item, apiVersion).override);
}

// https://github.com/deckhouse/deckhouse/blob/main/deckhouse-controller/crds/module.yaml
const state = z.looseObject({
  properties: z.looseObject({ source: text }).nullish(),
  status: z
    .looseObject({
      phase: z.string(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string(), message: text })).default([]),
    })
    .nullish()
    .catch(null),
});

/** null: a Module that says nothing. Before v1.66 it has no phase, and says no more than where it comes from. */
export function readState(answer: unknown): ModuleState | null {
  const read = state.safeParse(answer);
  if (!read.success) return null;
  const source = read.data.properties?.source ?? null;
  if (!read.data.status) return source === null ? null : { source, isReady: null, isBroken: false, message: "" };
  const { phase, conditions } = read.data.status;
  const ready = conditions.find(({ type }) => type === "IsReady");
  const isReady = ready?.status === "True" && phase === "Ready";
  return { source, isReady, isBroken: phase === "Error", message: isReady ? "" : (ready?.message ?? phase) };
}

/** Our own label, left there by a crash in the middle of a pulse: the annotation of the same patch has its value. Others' labels stay. */
export function leftover({ override, label }: Found): boolean {
  return override.apiVersion === "v1alpha1" && label !== null && label === override.annotations["renew"];
}

function check<T>(schema: z.ZodType<T>, answer: unknown): T {
  const read = schema.safeParse(answer);
  if (read.success) return read.data;
  throw new RelayError("CLUSTER_ERROR", `the answer is no ModulePullOverride: ${problems(read.error)}`);
}
