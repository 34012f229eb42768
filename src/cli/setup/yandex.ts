import { type Hook, lines, type RegistrySetup, SECRET } from "./setup.ts";

export const yandex: RegistrySetup = {
  checked: "from Yandex's documentation, not tried on a running registry",
  hosts: /^cr\.yandex$/,
  paste: (hook) =>
    hook.auth === "url"
      ? [
          {
            kind: "steps",
            where: "the trigger, where the relay itself is a Serverless Container (--invoke-container-path)",
            text: `/hooks/${hook.name}/${SECRET}`,
          },
        ]
      : [
          {
            kind: "sh",
            where:
              "a shell, with Yandex's `yc` and SERVICE_ACCOUNT (functions.functionInvoker, lockbox.payloadViewer, ymq.writer; container-registry.images.puller) and QUEUE, the ARN of a queue for what cannot be delivered",
            text: triggers(hook),
          },
        ],
  sample: ({ repository, tag, digest, time, id }) => ({
    body: {
      messages: [
        {
          event_metadata: {
            event_id: id,
            event_type: "yandex.cloud.events.containerregistry.CreateImageTag",
            created_at: time.toISOString(),
          },
          details: { registry_id: repository.split("/")[0], repository_name: repository, tag, image_digest: digest },
        },
      ],
    },
  }),
};

/** https://yandex.cloud/en/docs/functions/operations/trigger/cr-trigger-create; the first segment of a path is the registry's id. */
function triggers({ url, places }: Hook): string {
  const ids = [...new Set(places.map(({ path }) => path.split("/")[0] ?? ""))];
  return lines(
    "cat > index.js <<'JS'",
    "exports.handler = async (event) => {",
    "  const answer = await fetch(process.env.RELAY_URL, {",
    '    method: "POST",',
    '    headers: { authorization: `Bearer ${process.env.RELAY_SECRET}`, "content-type": "application/json" },',
    "    body: JSON.stringify(event),",
    "    signal: AbortSignal.timeout(5000),",
    "  });",
    "  if (!answer.ok) throw new Error(`the relay answered ${answer.status}`);",
    "};",
    "JS",
    'yc lockbox secret create --name mpo-relay --payload "[{\\"key\\": \\"relay\\", \\"text_value\\": \\"$SECRET\\"}]"',
    "ID=$(yc lockbox secret get --name mpo-relay --format json | jq -r .id)",
    "VERSION=$(yc lockbox secret get --name mpo-relay --format json | jq -r .current_version.id)",
    "yc serverless function create --name mpo-relay",
    "yc serverless function version create --function-name mpo-relay --runtime nodejs22 --entrypoint index.handler \\",
    '  --source-path index.js --memory 128m --execution-timeout 10s --service-account-id "${SERVICE_ACCOUNT:?}" \\',
    `  --environment RELAY_URL=${url} \\`,
    '  --secret "environment-variable=RELAY_SECRET,id=$ID,version-id=$VERSION,key=relay"',
    `for REGISTRY in ${ids.join(" ")}; do`,
    '  yc serverless trigger create container-registry --name "mpo-relay-$REGISTRY" --registry-id "$REGISTRY" \\',
    "    --events create-image-tag --batch-size 10 --batch-cutoff 1s \\",
    '    --invoke-function-name mpo-relay --invoke-function-service-account-id "$SERVICE_ACCOUNT" \\',
    '    --retry-attempts 5 --retry-interval 60s --dlq-queue-id "${QUEUE:?}" --dlq-service-account-id "$SERVICE_ACCOUNT"',
    "done",
  );
}
