/**
 * What is made of infra/monitoring for clusters: the rules stand in a field there, and neither Kustomize nor helm puts a file from outside of its
 * folder anywhere. `npm run monitoring` writes it, `npm test` compares.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "../../infra/monitoring");
const SEVERITY = /^( +labels: \{ severity: (critical|warning)) \}$/gm;
/** Deckhouse's own scale, of which 1 is the worst: https://github.com/deckhouse/deckhouse/blob/main/modules/300-prometheus/docs/internal/PROMETHEUS_RULES_DEVELOPMENT.md */
const LEVELS: Readonly<Record<string, number>> = { critical: 5, warning: 6 };

const MADE = "# Made of infra/monitoring/rules.yml by `npm run monitoring`.\n";
const OPERATOR = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: mpo-relay\n  namespace: mpo-relay\n";
const CRD = "# https://github.com/deckhouse/deckhouse/blob/main/modules/300-prometheus/crds/customprometheusrules.yaml\n";
const DECKHOUSE = `${CRD}apiVersion: deckhouse.io/v1\nkind: CustomPrometheusRules\nmetadata:\n  name: mpo-relay\n`;

/** Paths below infra/, and texts. */
export function manifests() {
  const [, groups = ""] = readFileSync(join(folder, "rules.yml"), "utf8").split(/^groups:\n/m);
  const levelled = groups.replace(SEVERITY, (_, start: string, severity: string) => {
    return `${start}, severity_level: "${LEVELS[severity]}", tier: cluster }`;
  });
  return {
    "cluster/monitoring/operator/rules.yaml": `${MADE}${OPERATOR}${specOf(groups)}`,
    "cluster/monitoring/deckhouse/rules.yaml": `${MADE}${DECKHOUSE}${specOf(levelled)}`,
    "module/monitoring/prometheus-rules/relay.yaml": `${MADE}${levelled.replaceAll(/^ {2}/gm, "")}`,
    "module/monitoring/grafana-dashboards/applications/mpo-relay.json": readFileSync(join(folder, "dashboard.json"), "utf8"),
  };
}

const specOf = (groups: string) => `spec:\n  groups:\n${groups.replaceAll(/^(?=.)/gm, "  ")}`;
