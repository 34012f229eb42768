/**
 * Whether a GitOps tool keeps an override: what somebody else writes into it is set back with the tool's next look, or is a difference that
 * it shows for ever. So such an override is changed where it is kept, and not in the cluster.
 */
import { type ManagedFields, ownersOf } from "./managed.ts";

/**
 * Tools by the field managers that they write with.
 * https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#server-side-apply
 * https://fluxcd.io/flux/components/kustomize/kustomizations/ https://helm.sh/docs/helm/helm_install/
 * https://rancher.github.io/fleet/ https://carvel.dev/kapp-controller/
 */
const MANAGERS: readonly (readonly [tool: string, manager: RegExp])[] = [
  ["Argo CD", /^argocd/],
  ["Flux", /^(?:kustomize|helm)-controller$|^flux/],
  ["Helm", /^helm$/],
  ["werf", /^(?:werf|nelm)/],
  ["Fleet", /^fleet-?agent/],
  ["kapp", /^kapp(?:-controller)?$/],
  ["Config Sync", /^configsync/],
  ["Terraform", /^terraform/i],
  ["Pulumi", /^pulumi/],
];
/** By what they mark their objects with: a label or an annotation. Argo CD's default label, app.kubernetes.io/instance, is everybody's. */
const MARKS: readonly (readonly [tool: string, key: string, value?: string])[] = [
  ["Argo CD", "argocd.argoproj.io/tracking-id"],
  ["Argo CD", "argocd.argoproj.io/instance"],
  ["Flux", "kustomize.toolkit.fluxcd.io/name"],
  ["Flux", "helm.toolkit.fluxcd.io/name"],
  ["Helm", "meta.helm.sh/release-name"],
  ["Helm", "app.kubernetes.io/managed-by", "Helm"],
  ["werf", "project.werf.io/name"],
  ["Fleet", "objectset.rio.cattle.io/id"],
  ["kapp", "kapp.k14s.io/app"],
  ["Config Sync", "configmanagement.gke.io/managed", "enabled"],
];

interface Metadata {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly managedFields: ManagedFields;
}

/** The tool that owns `spec.scanInterval` or marks the object as its own; null: none that we know. */
export function keeperOf({ labels, annotations, managedFields }: Metadata): string | null {
  const marked = MARKS.find(([, key, value]) =>
    [labels[key], annotations[key]].some((found) => found !== undefined && (value === undefined || found === value)),
  );
  if (marked) return marked[0];
  const owners = ownersOf(managedFields, "f:scanInterval");
  const owned = MANAGERS.find(([, manager]) => owners.some((owner) => manager.test(owner.manager)));
  return owned?.[0] ?? null;
}
