/** What the stack's parts are called. Ids follow from a cluster's name alone, so that another cluster beside it changes none of them. */

/** What of a deployment others build on: alarms, a dashboard, queries, tests. */
export interface Deployed {
  readonly service: string;
  readonly stage: string;
  /** Between two sweeps of a cluster; 0: none. */
  readonly sweepMinutes: number;
  /** `id`: the name in PascalCase, part of logical ids. `consumed`: by functions of this stack; else by a worker, and there is only its queue. */
  readonly clusters: readonly { readonly name: string; readonly id: string; readonly consumed: boolean }[];
  /** Webhooks whose deliveries come from a queue of this stack. */
  readonly inboxes: readonly { readonly webhook: string; readonly id: string }[];
}

/** https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resources-section-structure.html */
export interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
  readonly DependsOn?: readonly string[];
  readonly DeletionPolicy?: "Retain";
  readonly UpdateReplacePolicy?: "Retain";
}
/** By their logical ids. */
export type Resources = Readonly<Record<string, Resource>>;

export const UNPARSED_QUEUE = "UnparsedQueue";
export const JOURNAL = "Journal";
export const queueOf = (id: string) => `Queue${id}`;
export const deadLettersOf = (id: string) => `DeadLetters${id}`;

/** The rights of a worker inside the cluster. */
export const workerOf = (id: string) => `Worker${id}Policy`;

/** Of a webhook whose deliveries come from a queue, by the webhook's name. */
export const deliveriesOf = (id: string) => `Deliveries${id}`;
export const undeliveredOf = (id: string) => `Undelivered${id}`;
export const ruleOf = (id: string) => `Pushes${id}`;

/** Keys of serverless.yml's `functions`; each function is called `<service>-<stage>-<key>`. */
export const EDGE = "edge";
export const consumerOf = (id: string) => `consumer${id}`;
export const sweepOf = (id: string) => `sweep${id}`;
export const inboxOf = (id: string) => `inbox${id}`;

/** Logical ids of what belongs to a function of that key. The first two are made by osls, in this form. */
export const lambdaOf = (key: string) => `${capital(key)}LambdaFunction`;
export const logsOf = (key: string) => `${capital(key)}LogGroup`;
export const roleOf = (key: string) => `${capital(key)}Role`;

/** A cluster's, or a webhook's: `stage-1` → `Stage1`. Several names may have one id: the caller refuses that. */
export function idOf(name: string): string {
  return name
    .split(/[^A-Za-z0-9]+/)
    .map(capital)
    .join("");
}

const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

/** The functions that there are. */
export const keysOf = ({ clusters, inboxes }: Deployed): string[] => [
  EDGE,
  ...inboxes.map(({ id }) => inboxOf(id)),
  ...clusters.flatMap(({ id, consumed }) => (consumed ? [consumerOf(id), sweepOf(id)] : [])),
];
