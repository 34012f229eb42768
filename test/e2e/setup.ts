/** Before the first scenario: every real part is installed. One that can't be is named with its reason, and the run fails. */
import { actionlint } from "./parts/actionlint.ts";
import { install, say } from "./parts/cache.ts";
import { buildah } from "./parts/buildah.ts";
import { crane } from "./parts/crane.ts";
import { elasticmq } from "./parts/elasticmq.ts";
import { grafanaTypes } from "./parts/grafana-types.ts";
import { kubeApiserver } from "./parts/kube-apiserver.ts";
import { hadolint } from "./parts/hadolint.ts";
import { helm } from "./parts/helm.ts";
import { kubeconform, schemas } from "./parts/kubeconform.ts";
import { kubectl } from "./parts/kubectl.ts";
import { lambdaEmulator } from "./parts/lambda-emulator.ts";
import { prometheus } from "./parts/prometheus.ts";
import { prometheusOperator } from "./parts/prometheus-operator.ts";
import { registries } from "./parts/registry.ts";
import { skopeo } from "./parts/skopeo.ts";
import { strace } from "./parts/strace.ts";
import { workerd } from "./parts/workerd.ts";
import { zizmor } from "./parts/zizmor.ts";

export default async function setup(): Promise<void> {
  const missing: string[] = [];
  const [older, newer] = [registries["2.8.2"].part, registries["3.1.2"].part];
  const checks = [actionlint, hadolint, helm, kubeconform, schemas, workerd, prometheus, prometheusOperator, grafanaTypes, zizmor];
  for (const part of [elasticmq, lambdaEmulator, crane, skopeo, strace, older, newer, kubeApiserver, kubectl, buildah, ...checks]) {
    await install(part).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      say(`${part.name} ${part.version} can't be installed: ${why}`);
      missing.push(part.name);
    });
  }
  if (missing.length > 0) throw new Error(`can't be installed: ${missing.join(", ")} (reasons above)`);
}
