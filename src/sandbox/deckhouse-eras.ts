/**
 * How Deckhouse's ModulePullOverride controller differs from version to version: everything that does, as data, and nothing else.
 * Each era is one version of the controller's file as it was read, so that no row mixes two of them:
 * e1, e2 (first)  https://github.com/deckhouse/deckhouse/tree/main/deckhouse-controller/pkg/controller/module-controllers/release
 * e2 (last) – e4  https://github.com/deckhouse/deckhouse/tree/main/deckhouse-controller/pkg/controller/module-controllers/override
 * e5              https://github.com/deckhouse/deckhouse/tree/main/deckhouse-controller/internal/controller/modules/override
 */
import type { Module, PullOverride } from "./deckhouse-port.ts";
import type { OverrideVersion } from "./kubernetes/types.ts";

export const ERAS = ["e1", "e2", "e3", "e4", "e5"] as const;
export type EraName = (typeof ERAS)[number];

/** Ends a check with its message while it is shut. `clearsDigest`: so that the image is loaded anew once it opens. */
interface Gate {
  readonly message: string;
  readonly clearsDigest?: boolean;
  isShut(override: PullOverride, module: Module | null, era: Era): boolean;
}

export interface Era {
  /** For people. */
  readonly releases: string;
  /** The versions of ModulePullOverride that its CRD serves, the stored one first. */
  readonly served: readonly OverrideVersion[];
  /** Whether a change of an override that is known is worth a check. One that is seen for the first time always is. */
  triggers(before: PullOverride, now: PullOverride): boolean;
  /** What an override is given before its image is looked at. */
  readonly mark: "labels" | "finalizer";
  readonly gates: readonly Gate[];
  /** The ModuleSource that the image comes from; "" for none. */
  sourceOf(override: PullOverride, module: Module | null): string;
  /** What stands in `status.message`; `deployError` null: nothing is written, only Deckhouse's log tells. */
  readonly messages: {
    readonly ready: string;
    noSuchSource(name: string): string;
    downloadError(why: string): string;
    validationError(why: string): string;
    readonly deployError: ((why: string) => string) | null;
  };
  /** Messages that are written again, with a new `updatedAt`, where they stand already. */
  readonly repeats: { readonly source: boolean; readonly download: boolean };
  /** When an image that is not valid is tried again by itself. Any other failure of a deploy is, with back-off. */
  readonly afterInvalid: "interval" | "back-off" | "never";
  /** Removed after a deploy. `stale`: by the resourceVersion from before the status was written, so that the API server refuses it. */
  readonly cleanup: { readonly in: "labels" | "annotations"; readonly key: string; readonly stale: boolean } | null;
  /** The annotation that, being exactly `true`, makes it deploy a digest that is there already. */
  readonly forcedBy: string | null;
  /** A deploy ends in a restart of Deckhouse; otherwise the image is handed to the package runtime, which no status waits for. */
  readonly restarts: boolean;
  /** What becomes of the module when its override is deleted. */
  readonly onDelete: "stays" | "goes with rollback" | "goes";
  /** A scan interval of `0s` counts as 15 s; otherwise it means that nothing is looked at by itself. */
  readonly pollsAtZero: boolean;
  /** A ModuleSource has a `scanInterval`: https://github.com/deckhouse/deckhouse/pull/17622 (v1.75) */
  readonly sourcesHaveInterval: boolean;
  /** Milliseconds. https://pkg.go.dev/k8s.io/client-go/util/workqueue#NewTypedItemExponentialFailureRateLimiter */
  readonly firstBackoffMs: number;
}

// deckhouse-controller/pkg/apis/deckhouse.io/v1alpha1/module_pull_override.go: ModulePullOverrideMessage…
const notFound: Gate = { message: "The module not found", isShut: (_, module) => module === null };
const embedded: Gate = { message: "The module is embedded", isShut: (_, module) => module?.embedded === true };
const disabled: Gate = { message: "The module disabled", isShut: (_, module) => module?.disabled === true };
const noSource: Gate = {
  message: "The module does not have an active source",
  isShut: (override, module, era) => era.sourceOf(override, module) === "",
};

/** client-go's informer; the go struct of spec is compared, then the label is looked for, whatever its value. */
const bySpecOrLabel: Era["triggers"] = (before, now) =>
  before.imageTag !== now.imageTag || before.source !== now.source || before.scanInterval !== now.scanInterval || "renew" in now.labels;

/** https://pkg.go.dev/sigs.k8s.io/controller-runtime/pkg/predicate Or(GenerationChanged, AnnotationChanged), whatever the annotation's key. */
const byGenerationOrAnnotation: Era["triggers"] = (before, now) =>
  before.generation !== now.generation || textOf(before.annotations) !== textOf(now.annotations);
const textOf = (map: Readonly<Record<string, string>>) => JSON.stringify(Object.entries(map).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** PackageRepositories are named as the ModuleSources that they took over from, but for these: internal/controller/pkgsync. */
const SOURCE_OF_REPOSITORY: Readonly<Record<string, string>> = { "deckhouse-modules": "deckhouse", embedded: "" };

const raw = (why: string) => why;
const e1: Era = {
  releases: "v1.56 – v1.59",
  served: ["v1alpha1"],
  triggers: bySpecOrLabel,
  mark: "labels",
  gates: [],
  sourceOf: (override) => override.source,
  messages: {
    ready: "",
    noSuchSource: (name) => `ModuleSource "${name}" not found`,
    downloadError: raw,
    validationError: (why) => `validation failed: ${why}`,
    deployError: raw,
  },
  repeats: { source: true, download: true },
  afterInvalid: "interval",
  cleanup: { in: "labels", key: "renew", stale: true },
  forcedBy: null,
  restarts: true,
  onDelete: "stays",
  pollsAtZero: false,
  sourcesHaveInterval: false,
  firstBackoffMs: 500,
};
/** As it was at its end, about v1.66: an invalid image is not tried again until something happens to the override. */
const e2: Era = {
  ...e1,
  releases: "v1.60 – v1.66",
  triggers: byGenerationOrAnnotation,
  messages: { ...e1.messages, noSuchSource: (name) => `the '${name}' module source not found` },
  afterInvalid: "never",
  cleanup: { in: "annotations", key: "renew", stale: false },
  firstBackoffMs: 5,
};
/** As it began, v1.67 – v1.70; what came until mid 2026 is e4's, but for the force. */
const e3: Era = {
  ...e2,
  releases: "v1.67 – mid 2026",
  served: ["v1alpha2", "v1alpha1"],
  mark: "finalizer",
  gates: [notFound, embedded, disabled, noSource],
  sourceOf: (_, module) => module?.source ?? "",
  messages: {
    ready: "Ready",
    noSuchSource: () => "The source not found",
    downloadError: (why) => `Download error: ${why}`,
    validationError: (why) => `Validation error: ${why}`,
    deployError: (why) => `Enable error: ${why}`,
  },
  repeats: { source: false, download: true },
  afterInvalid: "interval",
  onDelete: "goes with rollback",
};
/** https://github.com/deckhouse/deckhouse/pull/22716 */
const e4: Era = {
  ...e3,
  releases: "from autumn 2026 on (#22716)",
  served: ["v1alpha2"],
  gates: [notFound, embedded, { ...disabled, clearsDigest: true }, noSource],
  sourceOf: (_, module) => SOURCE_OF_REPOSITORY[module?.repository ?? ""] ?? module?.repository ?? "",
  messages: { ...e3.messages, deployError: null },
  afterInvalid: "back-off",
  sourcesHaveInterval: true,
  cleanup: { in: "annotations", key: "modules.deckhouse.io/renew", stale: false },
  forcedBy: "modules.deckhouse.io/renew",
};
/** https://github.com/deckhouse/deckhouse/pull/21746 */
const e5: Era = {
  ...e4,
  releases: "with the package runtime (#21746)",
  gates: [notFound, embedded, noSource],
  sourceOf: e3.sourceOf,
  repeats: { source: false, download: false },
  cleanup: null,
  forcedBy: null,
  restarts: false,
  onDelete: "goes",
  pollsAtZero: true,
};

const TABLE: Readonly<Record<EraName, Era>> = { e1, e2, e3, e4, e5 };
export const eraOf = (name: EraName): Era => TABLE[name];
