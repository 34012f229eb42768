/** Each cluster: does it answer, is it the one that is meant, does it serve what the relay works with, how long does its token live, and is its clock ours? */
import { PLURAL } from "../../cluster/errors.ts";
import type { Inspection } from "../../cluster/inspect.ts";
import { GROUP, VERSIONS } from "../../cluster/read.ts";
import { ADVICE, RelayError, toRelayError } from "../../outcome.ts";
import { endsSoon } from "../../token-end.ts";
import { span } from "../terminal.ts";
import { shownFindings, trustedFindings } from "./certificates.ts";
import { skewFindings } from "./clock.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Sight, Surroundings } from "./surroundings.ts";

const DAY_MS = 24 * 3600 * 1000;
/** An API server rounds, and may add some seconds. */
const ROUNDED_MS = 60_000;

export const clusterChecks = (around: Surroundings): Check[] =>
  [...around.sights].map(([name, sight]) => ({ name: `cluster ${name}`, run: () => lookAtCluster(name, sight, around) }));

async function lookAtCluster(name: string, sight: Sight, around: Surroundings): Promise<Finding[]> {
  const where = `clusters.${name}.kubernetes`;
  let inspection: Inspection;
  try {
    inspection = await sight.inspection();
  } catch (thrown) {
    const { message } = toRelayError(thrown);
    if (/\bthe secret \S+ /.test(message)) return []; // the secrets' own check tells
    return [failure("CLUSTER_UNAUTHORIZED", where, message, "name a kubeconfig, context or token that this process can read")];
  }
  const token = [...tokenFindings(where, inspection, around.now()), ...certificatesOf(where, inspection, around.now())];
  try {
    return [...(await lookInside(name, where, { inspection, sight }, around)), ...token];
  } catch (thrown) {
    return [inWords(where, inspection, toRelayError(thrown, "CLUSTER_ERROR")), ...token];
  }
}

function certificatesOf(where: string, { certificates: { authorities, client } }: Inspection, now: Date): Finding[] {
  const trusted = {
    code: "CERTIFICATE",
    where,
    of: "the authority (CA) of its API server",
    hence: "its certificate is refused, and records wait",
    todo: "take the cluster's authority of today, as in the ConfigMap kube-root-ca.crt of any namespace",
  };
  const login = {
    code: "CERTIFICATE",
    where,
    of: "its client certificate",
    hence: "the API server does not let us in, and records wait",
    todo: "take a kubeconfig of today; infra/token.md gives one a token that is renewed by itself",
  };
  return [
    ...(authorities === null ? [] : trustedFindings({ ...trusted, authorities }, now)),
    ...(client === null ? [] : shownFindings({ ...login, ...client }, now)),
  ];
}

const inWords = (where: string, { server }: Inspection, { code, message }: RelayError) =>
  failure(code, where, `${server}: ${message}`, onTheWay(message) ?? ADVICE[code] ?? "look at the API server");

/** By the words of Node and OpenSSL: https://nodejs.org/api/tls.html#x509-certificate-error-codes. undefined: they say no more than the code does. */
const onTheWay = (message: string) => ON_THE_WAY.find(([shape]) => shape.test(message))?.[1];
const ON_THE_WAY: readonly (readonly [RegExp, string])[] = [
  [
    /self-signed certificate|unable to (?:verify|get)|certificate signature failure/,
    "this is not the authority (CA) of that API server: take it from the cluster, kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}', and name it by `ca` (in a kubeconfig: certificate-authority-data)",
  ],
  [
    /"system:anonymous"/,
    "the API server takes us for nobody: it saw no credential that it knows (a client certificate that has ended, say). Take a token or kubeconfig of today",
  ],
  [
    /does not match certificate's altnames/,
    "`server` must have a name or an address that is in the API server's certificate, which is said here",
  ],
  [
    /ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH/,
    "is `server` right, with its port? kubectl config view --minify -o jsonpath={.clusters[0].cluster.server} prints the one that you use; can it be reached from here?",
  ],
  [
    /wrong version number|packet length too long|EPROTO|SSL routines/,
    "what answers there speaks no TLS: is `server` right, with its port?",
  ],
];

interface Seen {
  readonly inspection: Inspection;
  readonly sight: Sight;
}

async function lookInside(name: string, where: string, { inspection, sight }: Seen, { config }: Surroundings): Promise<Finding[]> {
  const lists = await Promise.all(VERSIONS.map(async (version) => ({ version, list: await inspection.resources(version) })));
  const served = lists.flatMap(({ version, list }) => (list?.names.includes(PLURAL) ? [version] : []));
  const heard = lists.find(({ list }) => list !== null)?.list?.heard;
  const uid = config.clusters[name]?.uid ?? null;
  const other = uid === null ? [] : await otherCluster(name, sight, uid);
  return [
    served.length === 0
      ? failure(
          "API_VERSION_GONE",
          where,
          `${inspection.server} serves no ${PLURAL}.${GROUP}`,
          "is this a Deckhouse cluster, and the right address? kubectl get crd modulepulloverrides.deckhouse.io",
        )
      : ok(where, `${inspection.server} answers; overrides are served as ${served.join(" and ")}${lifeText(inspection)}`),
    ...other,
    ...(heard ? skewFindings(where, `the API server of ${name}`, heard) : []),
    ...rescans(name, config, lists.find(({ version }) => version === "v1alpha1")?.list?.names ?? []),
  ];
}

/** Of a cluster whose UID cannot be looked at, the rights tell. */
async function otherCluster(name: string, sight: Sight, wanted: string): Promise<Finding[]> {
  const uid = await sight.uid().catch((thrown: unknown) => {
    const error = toRelayError(thrown);
    if (error.code === "FORBIDDEN") return wanted;
    throw error;
  });
  if (uid === wanted) return [];
  const what = `its kube-system has the UID ${uid}, and the configuration says ${wanted}`;
  return [failure("OTHER_CLUSTER", `clusters.${name}.uid`, what, ADVICE.OTHER_CLUSTER ?? "")];
}

function rescans(name: string, { sources }: Surroundings["config"], names: readonly string[]): Finding[] {
  const scanned = sources.filter(({ rescan, clusters }) => rescan && clusters.includes(name));
  const missing = scanned.length === 0 ? [] : ["modulesources", "modulereleases"].filter((plural) => !names.includes(plural));
  return missing.map((plural) =>
    failure(
      "API_VERSION_GONE",
      `clusters.${name}.kubernetes`,
      `it serves no ${plural}.deckhouse.io in v1alpha1, which \`rescan: true\` needs`,
      "take `rescan` out for this cluster, or update the relay",
    ),
  );
}

const lifeText = ({ token: life }: Inspection) =>
  life === null || life === "endless" ? "" : `; its token ends at ${new Date(life.endsAt).toISOString()}`;

function tokenFindings(where: string, { token: life }: Inspection, now: Date): Finding[] {
  const renew =
    "kubectl -n mpo-relay create token mpo-relay --duration 24h, written where `kubernetes` reads it; infra/token.md does it by itself";
  if (life === null) return [];
  if (life === "endless")
    return [
      warning(
        "TOKEN_LONG",
        where,
        "its token does not say when it ends: whoever finds it can use it for good",
        `take one that ends: ${renew}`,
      ),
    ];
  const [left, whole] = [life.endsAt - now.getTime(), life.endsAt - life.beginsAt];
  if (left <= 0)
    return [
      failure("TOKEN_ENDED", where, `its token ended ${span(-left)} ago: records wait, and nothing is lost`, `a fresh one: ${renew}`),
    ];
  return [
    ...(whole > DAY_MS + ROUNDED_MS
      ? [
          warning(
            "TOKEN_LONG",
            where,
            `its token lives for ${span(whole)}, longer than a day, and ${span(left)} more`,
            `take one that ends sooner: ${renew}`,
          ),
        ]
      : []),
    ...(endsSoon(life, now)
      ? [warning("TOKEN_ENDS", where, `its token ends in ${span(left)}, and nobody has renewed it`, `a fresh one: ${renew}`)]
      : []),
  ];
}
