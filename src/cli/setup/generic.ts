import { type Hook, lines, type Paste, type RegistrySetup } from "./setup.ts";

export const generic: RegistrySetup = {
  checked: "our own format, tried with curl and openssl",
  paste: (hook) => [announced(hook), { kind: "sh", where: "or a shell with nothing but curl and openssl", text: byHand(hook) }],
  sample: ({ host, repository, tag, digest, time, id }) => ({
    body: { repository: `${host}/${repository}`, tag, digest, actor: "mpo-relay", time: time.toISOString(), id },
  }),
};

function announced({ url, auth, oidc }: Hook): Paste {
  if (auth === "oidc")
    return {
      kind: "file",
      where: "a pipeline of GitLab CI, with infra/ci/gitlab.yml of this project included (GitHub: infra/ci/github/action.yml)",
      text: lines(
        "announce:",
        "  extends: .mpo-relay-announce",
        "  variables:",
        `    MPO_RELAY_URL: ${url}`,
        `    MPO_RELAY_AUDIENCE: ${JSON.stringify(oidc?.audience ?? "")}`,
        "    MPO_RELAY_IMAGE: registry.example.com/deckhouse/modules/echo",
        "    MPO_RELAY_TAG: $CI_COMMIT_REF_SLUG",
      ),
    };
  const variable = auth === "standard-webhooks" ? "MPO_RELAY_SECRET" : "MPO_RELAY_TOKEN";
  if (auth === "hmac")
    return {
      kind: "steps",
      where: "whatever signs",
      text: lines(`URL     ${url}`, "Header  X-Signature-256: sha256=<HMAC-SHA256 of the body, hex>"),
    };
  return {
    kind: "sh",
    where: "the pipeline, after the push",
    text: `${variable}="$SECRET" mpo-relay announce --url ${url} --image registry.example.com/deckhouse/modules/echo --tag main`,
  };
}

const BODY = `body='{"repository": "registry.example.com/deckhouse/modules/echo", "tag": "main"}'`;

function byHand({ url, auth }: Hook): string {
  const post = (...headers: readonly string[]) => [
    `curl -sS ${url} --retry 5 -H 'Content-Type: application/json' \\`,
    ...headers.map((header) => `  -H "${header}" \\`),
    '  --data-raw "$body"',
  ];
  if (auth === "token") return lines(BODY, ...post("Authorization: Bearer $SECRET"));
  if (auth === "oidc")
    return lines("# TOKEN: the job's own, for the webhook's audience", BODY, ...post("Authorization: Bearer ${TOKEN:?}"));
  if (auth === "hmac")
    return lines(
      BODY,
      `signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$SECRET" | sed 's/.*= *//')`,
      ...post("X-Signature-256: sha256=$signature"),
    );
  return lines(
    BODY,
    'id="msg_$(openssl rand -hex 12)"',
    "time=$(date +%s)",
    `case $SECRET in whsec_*) key=$(printf %s "\${SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n') ;; *) key=$(printf %s "$SECRET" | od -An -v -tx1 | tr -d ' \\n') ;; esac`,
    'signature=$(printf %s "$id.$time.$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)',
    ...post("webhook-id: $id", "webhook-timestamp: $time", "webhook-signature: v1,$signature"),
  );
}
